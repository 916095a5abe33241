package snapshot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// Questions are what the owner of a database wants to know of a copy of it.
type Questions struct {
	// ForeignKeys asks for rows whose foreign keys refer to nothing.
	ForeignKeys bool
	// Assertions are queries, see [ParseAssertion]. One holds if the first column of the first row of
	// its answer is true, as WHERE would have it: neither NULL nor 0.
	Assertions []string
	// TimeLimit is how long each question may take; 0 is for ever.
	TimeLimit time.Duration
	// TempDir is where SQLite sorts what is too much for memory. Empty is [os.TempDir].
	TempDir string
}

// An Answer is what became of one of the [Questions].
type Answer struct {
	Query string
	Holds bool
	// Values are the first row of the answer as text, if there is one. Long ones are cut.
	Values []string
	// Why says why it does not hold if no value does.
	Why string
	// Damaged says that SQLite met damage on the way, which its checks had not found.
	Damaged bool
}

// foreignKeys is how foreign keys are asked for.
const foreignKeys = "PRAGMA foreign_key_check"

// Ask asks the database file at path, which must have no side files and must not be used by anybody
// else. It changes and creates nothing. That something does not hold is an answer, not an error; that a
// question takes too long is a [context.DeadlineExceeded], and that it is none a [NotQueryError].
func Ask(ctx context.Context, path string, q Questions) ([]Answer, error) {
	c, err := openCopy(path, q.TempDir)
	if err != nil {
		return nil, err
	}
	defer c.file.Close()
	queries := q.Assertions
	if q.ForeignKeys {
		queries = append([]string{foreignKeys}, queries...)
	}
	answers := make([]Answer, len(queries))
	err = c.use(ctx, func(conn *sqlite3.Conn) error {
		conn.Limit(sqlite3.LIMIT_ATTACHED, 0) // a query is about this database alone
		for i, sql := range queries {
			if err := ask(ctx, conn, sql, q.TimeLimit, &answers[i]); err != nil {
				return fmt.Errorf("ask %q: %w", sql, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", path, err)
	}
	return answers, nil
}

// ask asks one question.
func ask(ctx context.Context, conn *sqlite3.Conn, sql string, limit time.Duration, a *Answer) error {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	defer conn.SetInterrupt(conn.SetInterrupt(ctx))
	a.Query = sql
	err := answer(conn, sql, a)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, new(*NotQueryError)):
		return err
	}
	a.Why, a.Holds = complaint(err), false
	a.Damaged = errors.Is(err, sqlite3.CORRUPT) || errors.Is(err, sqlite3.NOTADB) || errors.Is(err, sqlite3.IOERR)
	return nil
}

func answer(conn *sqlite3.Conn, sql string, a *Answer) error {
	stmt, err := prepare(conn, sql)
	if err != nil {
		return err
	}
	defer stmt.Close()
	if sql == foreignKeys {
		return foreignKeyAnswer(stmt, a)
	}
	if !stmt.Step() {
		a.Why = "its answer has no row"
		return stmt.Err()
	}
	for i := range stmt.ColumnCount() {
		a.Values = append(a.Values, valueText(stmt, i))
	}
	a.Holds = stmt.ColumnFloat(0) != 0 // of NULL, and of text that is no number, it is 0, as for WHERE
	return nil
}

// foreignKeyAnswer counts rows whose foreign keys refer to nothing.
func foreignKeyAnswer(stmt *sqlite3.Stmt, a *Answer) error {
	n := 0
	for ; stmt.Step(); n++ {
		if n == 0 {
			a.Why = fmt.Sprintf("row %s of the table %s refers to a row of %s that is not there",
				valueText(stmt, 1), cut(stmt.ColumnText(0)), cut(stmt.ColumnText(2)))
		}
	}
	if n > 1 {
		a.Why += fmt.Sprintf(", and so do %d more", n-1)
	}
	a.Holds = n == 0
	return stmt.Err()
}

// ParseAssertion reports what is wrong with an assertion, as far as that can be told without the
// database: it has to be one query, without parameters.
func ParseAssertion(sql string) error {
	conn, err := sqlite3.Open(":memory:")
	if err != nil {
		return err
	}
	defer conn.Close()
	stmt, err := prepare(conn, sql)
	if err == nil {
		return stmt.Close()
	}
	var not *NotQueryError
	if errors.As(err, &not) {
		return err
	}
	if isSyntax(err.Error()) {
		return errors.New(complaint(err))
	}
	return nil // what it asks for may be in the database
}

// isSyntax reports whether SQLite complains of what no database could change.
func isSyntax(message string) bool {
	for _, s := range []string{"syntax error", "incomplete input", "unrecognized token"} {
		if strings.Contains(message, s) {
			return true
		}
	}
	return false
}

// complaint returns what SQLite complains of, without the words that say that it does.
func complaint(err error) string {
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), "sqlite3: "), "SQL logic error: ")
}

// A NotQueryError says why an assertion is not one query that only asks. Of some that is not known before
// they meet the database.
type NotQueryError struct{ Why string }

func (e *NotQueryError) Error() string { return e.Why }

// prepare returns the statement of a query.
func prepare(conn *sqlite3.Conn, sql string) (*sqlite3.Stmt, error) {
	stmt, tail, err := conn.Prepare(sql)
	if err != nil {
		return nil, err
	}
	why := ""
	switch {
	case stmt == nil:
		return nil, &NotQueryError{"it is no query"}
	case strings.Trim(tail, "; \t\r\n") != "":
		why = "it is more than one query"
	case !stmt.ReadOnly() || stmt.ColumnCount() == 0:
		why = "it does not only ask"
	case stmt.BindCount() > 0:
		why = "it has parameters, which nobody fills in"
	}
	if why != "" {
		return nil, errors.Join(&NotQueryError{why}, stmt.Close())
	}
	return stmt, nil
}

// valueText returns a column's value as SQL has it, but text without quotes.
func valueText(stmt *sqlite3.Stmt, i int) string {
	switch stmt.ColumnType(i) {
	case sqlite3.NULL:
		return "NULL"
	case sqlite3.BLOB:
		return cut(fmt.Sprintf("x'%x'", stmt.ColumnRawBlob(i)[:min(len(stmt.ColumnRawBlob(i)), maxValue)]))
	}
	return cut(string(stmt.ColumnRawText(i)[:min(len(stmt.ColumnRawText(i)), 2*maxValue)]))
}

// maxValue is how many bytes of a value are shown.
const maxValue = 200

// cut shortens a text that is too long to show.
func cut(s string) string {
	if len(s) <= maxValue {
		return s
	}
	return strings.ToValidUTF8(s[:maxValue], "") + "..."
}
