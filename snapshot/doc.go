// Package snapshot copies live SQLite databases.
//
// [Take] gives an [Image]: the database as of one committed instant, whatever other processes
// write meanwhile, in a temporary file without a name, with the hash of each page. [Check] lets
// SQLite check a copy, and [Ask] asks it what the owner wants to know. [Hold] takes an old database
// out of use while a new one takes its place. The package knows nothing of stores or snapshots' names.
//
// # The source is not changed
//
// A source is read through a file system of our own, which opens everything read-only and refuses
// to create or delete. That matters most in WAL mode: SQLite, even when it only reads, creates the
// -wal and -shm of a database that nobody has open, and as root it would leave its application with
// files that it may not write. Instead, while either is missing, and so nobody has the database
// open, it is read under a shared lock with the index of the WAL in this process's memory, and read
// again if somebody opened it meanwhile. Where both are there, SQLite joins the other processes as
// it always does; then it writes to the -shm, if it may, the mark that keeps its part of the WAL
// from being overwritten.
//
// # Locks of the same process
//
// On Unix, closing any descriptor of a file drops all POSIX locks that the process has on it
// (https://sqlite.org/howtocorrupt.html section 2.2), and the SQLite that is written in C uses
// these. This package cannot know of such a library: a process that has a database open through it
// must not call this package on that database. Other users of github.com/ncruces/go-sqlite3 in the
// process are safe; its locks, like those here, belong to the open file on Linux and macOS.
//
// # Other systems
//
// Linux is where all of this holds and is tested. On macOS network file systems and processes
// without locks are not recognised in advance. Elsewhere SQLite creates side files as it likes, and
// Hold does not work.
package snapshot
