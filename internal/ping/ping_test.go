package ping

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const secret = "4f1e-secret"

// A rig is a service that notes what it is asked for, and answers with the codes in turn, then with 200.
type rig struct {
	mu    sync.Mutex
	asked []string
	codes []int
}

func (r *rig) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, q.Method+" "+q.URL.RequestURI())
	if len(r.codes) > 0 {
		w.WriteHeader(r.codes[0])
		r.codes = r.codes[1:]
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func load(t *testing.T, address string) *Service {
	t.Helper()
	s, err := Load(write(t, address+"\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPings(t *testing.T) {
	for _, c := range []struct {
		suffix string
		codes  []int
		want   []string
		fails  string
	}{
		{"", nil, []string{"GET /" + secret + "/start", "GET /" + secret, "GET /" + secret + "/4"}, ""},
		{"/", nil, []string{"GET /" + secret + "/start", "GET /" + secret + "/", "GET /" + secret + "/4"}, ""},
		{"?create=1", nil, []string{"GET /" + secret + "/start?create=1", "GET /" + secret + "?create=1", "GET /" + secret + "/4?create=1"}, ""},
		{"", []int{503, 429}, []string{"GET /" + secret + "/start", "GET /" + secret + "/start", "GET /" + secret + "/start", "GET /" + secret, "GET /" + secret + "/4"}, ""},
		{"", []int{404}, []string{"GET /" + secret + "/start", "GET /" + secret, "GET /" + secret + "/4"}, "404 Not Found"},
		{"", []int{500, 500, 500}, []string{"GET /" + secret + "/start", "GET /" + secret + "/start", "GET /" + secret + "/start", "GET /" + secret, "GET /" + secret + "/4"}, "500"},
	} {
		r := &rig{codes: c.codes}
		server := httptest.NewServer(r)
		s := load(t, server.URL+"/"+secret+c.suffix)
		err := errors.Join(s.Start(t.Context()), s.End(t.Context(), 0), s.End(t.Context(), 4))
		server.Close()
		if (err != nil) != (c.fails != "") || err != nil && !strings.Contains(err.Error(), c.fails) {
			t.Errorf("%+v: %v", c, err)
		}
		if !slices.Equal(r.asked, c.want) {
			t.Errorf("%+v: asked for %q", c, r.asked)
		}
	}
}

// TestSecret makes services fail in every way: nobody may learn the address.
func TestSecret(t *testing.T) {
	server := httptest.NewServer(new(rig))
	gone := server.URL + "/" + secret
	server.Close()
	moved := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		http.Redirect(w, q, q.URL.Path+"x", http.StatusFound)
	}))
	defer moved.Close()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range []error{
		load(t, gone).Start(t.Context()),
		load(t, moved.URL+"/"+secret).Start(t.Context()),
		load(t, moved.URL+"/"+secret).Start(cancelled),
	} {
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("got %v", err)
		}
	}
	if text := fmt.Sprintf("%v %+v %s", load(t, gone), load(t, gone), load(t, gone)); strings.Contains(text, secret) {
		t.Error(text)
	}
	for _, text := range []string{"", secret, "ftp://host/" + secret, "https:///" + secret, "https://host/" + secret + "%zz", "http://a b/" + secret} {
		if _, err := Load(write(t, text), ""); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none"), ""); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestBundle pings a service whose certificate only the bundle vouches for.
func TestBundle(t *testing.T) {
	server := httptest.NewTLSServer(new(rig))
	defer server.Close()
	address := write(t, server.URL+"/"+secret)
	bundle := write(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	s, err := Load(address, bundle)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.End(t.Context(), 0); err != nil {
		t.Error(err)
	}
	if err := load(t, server.URL+"/"+secret).End(t.Context(), 0); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("without it: %v", err)
	}
	for _, bad := range []string{write(t, "no certificate"), filepath.Join(t.TempDir(), "none")} {
		if _, err := Load(address, bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
