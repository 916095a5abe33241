// Package pty makes terminals for tests.
package pty
