package store

import "fmt"

// A UsageError says that a URL or an option is wrong, which no other try will change.
type UsageError struct{ msg string }

func (e *UsageError) Error() string { return e.msg }

func usagef(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

const whereSecretsGo = "keys belong in the environment, a profile or another place where the AWS tools look for them"
