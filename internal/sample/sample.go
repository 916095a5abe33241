// Package sample makes a database of a small shop and writes to it, so that the program can show
// what it does without anybody's data.
//
// The shop has a table of orders and one row of totals. Each transaction adds an order and brings
// the totals up to date, so a copy of the database whose orders and totals disagree was not one
// committed instant.
package sample

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// seed is how many orders a new database has. They make it about 12 MB large.
const seed = 100_000

// pace is the time from one transaction of [Write] to the next.
const pace = 2 * time.Millisecond

const schema = `
	PRAGMA journal_mode = WAL;
	PRAGMA synchronous = NORMAL;
	BEGIN;
	CREATE TABLE orders (
		id       INTEGER PRIMARY KEY,
		placed   TEXT NOT NULL, -- in UTC
		customer TEXT NOT NULL,
		cents    INTEGER NOT NULL
	);
	CREATE INDEX orders_by_customer ON orders (customer);
	CREATE TABLE totals (orders INTEGER NOT NULL, cents INTEGER NOT NULL);
	INSERT INTO totals VALUES (0, 0);
	CREATE TRIGGER orders_count AFTER INSERT ON orders BEGIN
		UPDATE totals SET orders = orders + 1, cents = cents + new.cents;
	END;`

// order adds one order. Its numbers are scattered, not random: 7919 and 104729 are primes.
const order = `
	INSERT INTO orders (placed, customer, cents)
	SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
		printf('%08x@mail.example', (n * 2654435761) % 4294967296 / 16), 100 + n * 7919 % 104729
	FROM `

// Create makes the database at path, where nothing may be, in WAL mode.
func Create(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return with(ctx, path, sqlite3.OPEN_READWRITE, func(c *sqlite3.Conn) error {
		if err := c.Exec(schema); err != nil {
			return err
		}
		numbers := fmt.Sprintf(`(WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < %d) SELECT n FROM c)`, seed)
		return c.Exec(order + numbers + `; COMMIT`)
	})
}

// Write adds an order to the database at path in one transaction after the other, some hundreds a
// second, until ctx is done, which is no error. After each commit it calls committed with the
// number of orders it has added so far.
func Write(ctx context.Context, path string, committed func(n int64) error) error {
	err := with(ctx, path, sqlite3.OPEN_READWRITE, func(c *sqlite3.Conn) error {
		if err := c.BusyTimeout(time.Minute); err != nil {
			return err
		}
		if err := c.Exec(`PRAGMA synchronous = NORMAL`); err != nil {
			return err
		}
		stmt, _, err := c.Prepare(order + `(SELECT orders AS n FROM totals)`)
		if err != nil {
			return err
		}
		defer stmt.Close()
		next := time.NewTicker(pace)
		defer next.Stop()
		for n := int64(1); ; n++ {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-next.C:
			}
			if err := stmt.Exec(); err != nil {
				return err
			}
			if err := committed(n); err != nil {
				return err
			}
		}
	})
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, sqlite3.INTERRUPT)) {
		return nil
	}
	return err
}

// A State is what the database holds.
type State struct {
	Orders      int64  `json:"orders"` // rows
	Cents       int64  `json:"cents"`  // their sum
	TotalOrders int64  `json:"total_orders"`
	TotalCents  int64  `json:"total_cents"`
	Last        string `json:"last_placed"` // when the newest order was placed
}

// Agrees reports whether the totals are those of the orders.
func (s State) Agrees() bool { return s.Orders == s.TotalOrders && s.Cents == s.TotalCents }

// Query is how [Read] asks for all orders.
const Query = `SELECT count(*), sum(cents), max(placed) FROM orders; SELECT * FROM totals`

// Read returns what the database at path holds at one instant. Of the orders it looks at the first
// most ones; the totals are always those of all.
func Read(ctx context.Context, path string, most int64) (State, error) {
	var s State
	err := with(ctx, path, sqlite3.OPEN_READONLY, func(c *sqlite3.Conn) error {
		if err := c.BusyTimeout(time.Minute); err != nil {
			return err
		}
		stmt, _, err := c.Prepare(`SELECT count(*), sum(o.cents), max(o.placed), t.orders, t.cents FROM totals t, orders o WHERE o.id <= ?`)
		if err != nil {
			return err
		}
		defer stmt.Close()
		if err := stmt.BindInt64(1, most); err != nil {
			return err
		}
		if stmt.Step() {
			s = State{stmt.ColumnInt64(0), stmt.ColumnInt64(1), stmt.ColumnInt64(3), stmt.ColumnInt64(4), stmt.ColumnText(2)}
		}
		return stmt.Err()
	})
	return s, err
}

// A Table is a table of any database.
type Table struct {
	Name string `json:"table"`
	Rows int64  `json:"rows"`
}

// Count returns the tables of the database at path with the number of their rows. Virtual tables,
// which may need modules that only their application has, are left out.
func Count(ctx context.Context, path string) ([]Table, error) {
	var all []Table
	err := with(ctx, path, sqlite3.OPEN_READONLY, func(c *sqlite3.Conn) error {
		stmt, _, err := c.Prepare(`SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name`)
		if err != nil {
			return err
		}
		defer stmt.Close()
		for stmt.Step() {
			t := Table{Name: stmt.ColumnText(0)}
			if t.Rows, err = rows(c, t.Name); err != nil {
				return err
			}
			all = append(all, t)
		}
		return stmt.Err()
	})
	return all, err
}

// Quote returns the name of a table as SQL has it.
func Quote(table string) string { return sqlite3.QuoteIdentifier(table) }

func rows(c *sqlite3.Conn, table string) (int64, error) {
	stmt, _, err := c.Prepare(`SELECT count(*) FROM main.` + Quote(table))
	if err != nil {
		return 0, err
	}
	defer stmt.Close()
	stmt.Step()
	return stmt.ColumnInt64(0), stmt.Err()
}

// with calls do with a connection to the database at path, which ends what it does when ctx does.
func with(ctx context.Context, path string, flags sqlite3.OpenFlag, do func(*sqlite3.Conn) error) error {
	c, err := sqlite3.OpenFlags(path, flags)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	c.SetInterrupt(ctx)
	err = do(c)
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("use %s: %w", path, err)
	}
	return nil
}
