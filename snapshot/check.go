package snapshot

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ncruces/go-sqlite3"
)

// A CheckLevel says how thorough a [Check] is.
type CheckLevel int

const (
	// Quick is PRAGMA quick_check: everything but whether indexes agree with their tables.
	Quick CheckLevel = iota
	// Full is PRAGMA integrity_check.
	Full
)

// An Outcome is what a [Check] came to.
type Outcome int

const (
	// Sound means that SQLite found nothing wrong.
	Sound Outcome = iota
	// Damaged means that it did.
	Damaged
	// NotCheckable means that SQLite alone cannot tell: the schema needs functions, collations or
	// modules that only the application has, or an indexed value is tens of megabytes long.
	NotCheckable
)

// String returns one or two lower-case words.
func (o Outcome) String() string {
	switch o {
	case Sound:
		return "sound"
	case Damaged:
		return "damaged"
	}
	return "not checkable"
}

// A CheckResult is what a [Check] found.
type CheckResult struct {
	Outcome Outcome
	// Messages say what is wrong, in SQLite's words, at most 100 of them; or, if the database is
	// not checkable, why.
	Messages []string
}

// maxMessages is how many findings are reported, the limit that SQLite has of its own.
const maxMessages = 100

// Check lets SQLite check the database file at path, which must have no side files and must not be
// used by anybody else. It changes and creates nothing. Damage is a result, not an error.
func Check(ctx context.Context, path string, level CheckLevel) (CheckResult, error) {
	c, err := openCopy(path, "")
	if err != nil {
		return CheckResult{}, err
	}
	defer c.file.Close()
	return c.check(ctx, level)
}

// Check lets SQLite check the image, which must have been taken without a base: it has to be whole.
// Damage, which was in the source then, is a result, not an error.
func (m *Image) Check(ctx context.Context, level CheckLevel) (CheckResult, error) {
	if m.partial {
		return CheckResult{}, errPartial
	}
	c := &copied{file: m.data, name: "the image", size: m.Size()}
	return c.check(ctx, level)
}

// errPartial answers who wants to check an image that lacks pages.
var errPartial = errors.New("internal error: an image that rests on a base cannot be checked")

// check lets SQLite check the copy.
func (c *copied) check(ctx context.Context, level CheckLevel) (result CheckResult, err error) {
	err = c.use(ctx, func(conn *sqlite3.Conn) (err error) {
		result, err = check(ctx, conn, level)
		return err
	})
	switch {
	case errors.Is(err, errNoMemory):
		return CheckResult{NotCheckable, []string{"a value is too large to be checked in the memory that is allowed"}}, nil
	case errors.Is(err, ErrDamaged), errors.Is(err, ErrNotDatabase):
		return CheckResult{Damaged, []string{err.Error()}}, nil
	case err != nil:
		return CheckResult{}, fmt.Errorf("check %s: %w", c.name, err)
	}
	return result, nil
}

func check(ctx context.Context, conn *sqlite3.Conn, level CheckLevel) (CheckResult, error) {
	sql := "PRAGMA quick_check"
	if level == Full {
		sql = "PRAGMA integrity_check"
	}
	messages, err := column(conn, fmt.Sprintf("%s(%d)", sql, maxMessages))
	switch {
	case ctx.Err() != nil:
		return CheckResult{}, ctx.Err()
	case err != nil && foreign(err.Error()):
		return CheckResult{NotCheckable, []string{err.Error()}}, nil
	case errors.Is(err, sqlite3.CORRUPT), errors.Is(err, sqlite3.NOTADB), errors.Is(err, sqlite3.IOERR):
		return CheckResult{Damaged, append(messages, err.Error())}, nil
	case err != nil:
		return CheckResult{}, err
	case len(messages) == 1 && messages[0] == "ok":
		return CheckResult{Outcome: Sound}, nil
	}
	return CheckResult{Damaged, messages}, nil
}

// foreign reports whether message complains of something that an application would provide.
func foreign(message string) bool {
	for _, s := range []string{
		"no such collation sequence", "no such module", "no such function", "unknown function", "no such tokenizer",
	} {
		if strings.Contains(message, s) {
			return true
		}
	}
	return false
}

// column returns the first column of what sql yields, also of what came before an error.
func column(conn *sqlite3.Conn, sql string) (values []string, err error) {
	stmt, _, err := conn.Prepare(sql)
	if err != nil {
		return nil, err
	}
	defer stmt.Close()
	for stmt.Step() {
		values = append(values, stmt.ColumnText(0))
	}
	return values, stmt.Err()
}
