package store_test

import (
	"net/http"
	"testing"

	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

// Over https the SDK sends other requests than over http, so that both are tried, and the
// checksums of AWS as well as those for other servers.
func TestS3(t *testing.T) {
	for _, tt := range []struct {
		name   string
		tls    bool
		change func(*store.S3Options)
	}{
		{"https", true, nil},
		{"https-supported", true, func(o *store.S3Options) { o.Checksum = "supported" }},
		{"http", false, func(o *store.S3Options) { o.Prefix = ""; o.SetPageMost(400) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) store.Store {
				return newPlainFake(t, tt.tls).open(t, tt.change)
			})
		})
	}
}

// refuseCreateOnly answers as providers do that do not know If-None-Match on requests that store.
func refuseCreateOnly(w http.ResponseWriter, r *http.Request, real http.Handler) {
	if r.Method != "GET" && r.Method != "HEAD" && r.Header.Get("If-None-Match") != "" {
		answer(w, http.StatusNotImplemented, "NotImplemented", "A header you provided implies functionality that is not implemented")
		return
	}
	real.ServeHTTP(w, r)
}

func TestS3WithoutCreateOnly(t *testing.T) {
	storetest.RunWithoutRace(t, func(t *testing.T) store.Store {
		f := newFake(t)
		f.place(refuseCreateOnly)
		return f.open(t, nil)
	})
}

// answer writes an error as S3 does.
func answer(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	w.Write([]byte(`<?xml version="1.0" encoding="UTF-8"?><Error><Code>` + code + `</Code><Message>` + message +
		`</Message><RequestId>REQ</RequestId></Error>`))
}
