// Package check holds the files in deploy to what can be known of them without a container engine, a
// cluster or a running systemd. Its tests read each file with the parser of the program that it is for,
// and run every command line in them: in a file system that the Dockerfile's own commands have made, as
// the user and with the mounts that the file asks for.
//
// It is a module of its own, so that these parsers are no dependencies of the product.
package check
