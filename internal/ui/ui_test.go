package ui

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"
)

// streams returns a UI and what it prints.
func streams(opts Options) (u *UI, out, stderr *bytes.Buffer) {
	out, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	opts.Out, opts.Err = out, stderr
	return New(opts), out, stderr
}

func TestStreams(t *testing.T) {
	speak := func(u *UI) {
		if err := u.Result(map[string]string{"name": "a\u009b<b>\U000e0041\u202e"}, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%s %s\n", u.Bold("name"), "a\x1b[2J")
			return err
		}); err != nil {
			t.Error(err)
		}
		u.Note("note %s", "\x1b[2J")
		if err := u.Remark(func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "remark %s\n", u.Green("ok"))
			return err
		}); err != nil {
			t.Error(err)
		}
		u.Warn("low %d%%", 5)
		u.Error(errors.New("put \x1b[2Jkey: refused"), "look at\nthe bucket", 8)
		u.Error(errors.New("no hint"), "", 1)
	}
	for _, test := range []struct {
		name        string
		opts        Options
		out, stderr string
	}{
		{"plain", Options{},
			"name a\\x1b[2J\n",
			"note \\x1b[2J\nremark ok\nwarning: low 5%\n" +
				"litestash: put \\x1b[2Jkey: refused\n  hint: look at\n        the bucket\nlitestash: no hint\n"},
		{"quiet", Options{Quiet: true},
			"name a\\x1b[2J\n",
			"litestash: put \\x1b[2Jkey: refused\n  hint: look at\n        the bucket\nlitestash: no hint\n"},
		{"colours", Options{Color: true, ColorErr: true},
			"\x1b[1mname\x1b[0m a\\x1b[2J\n",
			"note \\x1b[2J\nremark \x1b[32mok\x1b[0m\n\x1b[33mwarning:\x1b[0m low 5%\n" +
				"\x1b[31mlitestash:\x1b[0m put \\x1b[2Jkey: refused\n\x1b[1m  hint:\x1b[0m look at\n        the bucket\n\x1b[31mlitestash:\x1b[0m no hint\n"},
		{"colours on the output alone", Options{Color: true, Quiet: true},
			"\x1b[1mname\x1b[0m a\\x1b[2J\n",
			"litestash: put \\x1b[2Jkey: refused\n  hint: look at\n        the bucket\nlitestash: no hint\n"},
		{"json", Options{JSON: true, Color: true, ColorErr: true},
			`{"name":"a\u009b<b>\udb40\udc41\u202e"}` + "\n" +
				`{"error":{"message":"put \u001b[2Jkey: refused","hint":"look at\nthe bucket","exit_code":8}}` + "\n" +
				`{"error":{"message":"no hint","exit_code":1}}` + "\n",
			`{"warning":"low 5%"}` + "\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			u, out, stderr := streams(test.opts)
			speak(u)
			if got := out.String(); got != test.out {
				t.Errorf("output\n%q\nwant\n%q", got, test.out)
			}
			if got := stderr.String(); got != test.stderr {
				t.Errorf("error stream\n%q\nwant\n%q", got, test.stderr)
			}
		})
	}
}

// The escapes are another spelling of the same value.
func TestJSONValue(t *testing.T) {
	const name = "a\u009b<b>\U000e0041\u202e\x7f\u2028 👩\u200d🚀\n"
	u, out, _ := streams(Options{JSON: true})
	if err := u.Result(name, nil); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got != name {
		t.Errorf("%q came back as %q, %v", name, got, err)
	}
}

// A result that cannot be made prints nothing; one that cannot be printed says so, and an error
// that the output does not take is told on the other stream.
func TestResultErrors(t *testing.T) {
	broken := errors.New("broken")
	u, out, _ := streams(Options{})
	err := u.Result(nil, func(w io.Writer) error {
		fmt.Fprintln(w, "half")
		return broken
	})
	if err != broken || out.Len() > 0 {
		t.Errorf("got %v and %q", err, out)
	}
	u, out, _ = streams(Options{JSON: true})
	if err := u.Result(func() {}, nil); err == nil || out.Len() > 0 {
		t.Errorf("a function became %q, %v", out, err)
	}

	r, w := io.Pipe()
	r.CloseWithError(broken)
	for _, asJSON := range []bool{false, true} {
		var stderr bytes.Buffer
		u := New(Options{Out: w, Err: &stderr, JSON: asJSON})
		err := u.Result("x", func(w io.Writer) error {
			_, err := io.WriteString(w, "x")
			return err
		})
		if err != broken {
			t.Errorf("JSON %v: Result returned %v", asJSON, err)
		}
		u.Error(broken, "", 1)
		if got, want := stderr.String(), "litestash: broken\n"; got != want {
			t.Errorf("JSON %v: the error stream got %q", asJSON, got)
		}
	}
	if _, err := io.WriteString(New(Options{Out: io.Discard, Err: w}).ErrWriter(), "x"); err != broken {
		t.Errorf("ErrWriter returned %v", err)
	}
}

func TestTable(t *testing.T) {
	u, out, _ := streams(Options{})
	table := u.NewTable("DATABASE", ">STORED", "", "STATE")
	table.Row("app.db", "1.0 kB", "x", "ok")
	table.Row("数据库/données e\u0301.db", "503.1 MB", "y", u.Red("damaged"))
	table.Row("a\nb\x1b[2J", "1 B", "", "")
	if err := u.Result(nil, table.Write); err != nil {
		t.Fatal(err)
	}
	const want = "DATABASE               STORED     STATE\n" +
		"app.db                 1.0 kB  x  ok\n" +
		"数据库/données e\u0301.db  503.1 MB  y  damaged\n" +
		"a\\nb\\x1b[2J               1 B\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// Styles take no room, and the header's padding is not styled.
func TestTableColor(t *testing.T) {
	u, out, _ := streams(Options{Color: true})
	table := u.NewTable("STATE", ">N")
	table.Row(u.Green("ok"), "10")
	table.Row("\x1b[31mdamaged", "1")
	if err := u.Result(nil, table.Write); err != nil {
		t.Fatal(err)
	}
	const want = "\x1b[1mSTATE\x1b[0m     \x1b[1mN\x1b[0m\n\x1b[32mok\x1b[0m       10\n\x1b[31mdamaged\x1b[0m   1\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestUTF8Locale(t *testing.T) {
	for _, test := range []struct {
		all, ctype, lang string
		want             bool
	}{
		{"", "", "", false}, {"", "", "C", false}, {"", "", "C.UTF-8", true}, {"", "", "de_DE.utf8", true},
		{"", "C", "C.UTF-8", false}, {"", "C.UTF-8", "C", true}, {"POSIX", "C.UTF-8", "C.UTF-8", false},
	} {
		got := utf8Locale(func(name string) string {
			return map[string]string{"LC_ALL": test.all, "LC_CTYPE": test.ctype, "LANG": test.lang}[name]
		})
		if got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}
