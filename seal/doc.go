// Package seal encrypts objects on their way to a store and decrypts them on the way back, each as a whole
// and with age (https://age-encryption.org/v1): who writes needs public keys alone. It knows nothing of
// snapshots.
//
// Start with [Recipients.Encrypt], which writes, and [Open], which reads ranges of an object that may be
// encrypted or not.
package seal
