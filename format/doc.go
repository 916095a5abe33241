// Package format is the vocabulary of Litestash: the names of snapshots, the keys of their objects
// and the objects' bytes, as FORMAT.md beside this file specifies them.
//
// It turns bytes into values and back and does nothing else: it opens no file and no connection.
// To write an object start with [NewWriter], to read one with [ParseTail].
package format
