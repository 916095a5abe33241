package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/litestash/litestash/internal/ui"
)

func TestLog(t *testing.T) {
	for _, test := range []struct {
		name    string
		opts    ui.Options
		verbose bool
		want    string
	}{
		{"as warnings", ui.Options{}, false, "warning: read damaged data (host: vm, s3.key: a/b, s3.err: no sum)\nwarning: plain\n"},
		{"quiet", ui.Options{Quiet: true}, false, ""},
		{"json", ui.Options{JSON: true}, false, `{"warning":"read damaged data (host: vm, s3.key: a/b, s3.err: no sum)"}` + "\n" + `{"warning":"plain"}` + "\n"},
		{"verbose", ui.Options{}, true, `level=WARN msg="read damaged data" host=vm s3.key=a/b s3.err="no sum"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var errs bytes.Buffer
			test.opts.Out, test.opts.Err = new(bytes.Buffer), &errs
			log := newLog(ui.New(test.opts), test.verbose)
			log.With("host", "vm").WithGroup("s3").Warn("read damaged data", "key", "a/b", "err", errors.New("no sum"))
			log.Warn("plain")
			log.Debug("a request")
			got := errs.String()
			if test.verbose && strings.Contains(got, test.want) && strings.Contains(got, "a request") {
				return
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
