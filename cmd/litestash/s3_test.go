package main

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rclone/gofakes3"

	"github.com/litestash/litestash/internal/membucket"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

// An s3Server is a server in this process, over TLS, with the bucket "bucket". Tests put faults in front.
type s3Server struct {
	*httptest.Server
	real http.Handler
	over chan struct{} // closed when the test is over: handlers that stand still must end then

	mu    sync.Mutex
	front func(w http.ResponseWriter, r *http.Request, real http.Handler)
}

// newS3Server starts a server and sets the environment so that it is trusted and its keys are used.
func newS3Server(t *testing.T) *s3Server {
	t.Helper()
	storetest.CleanEnv(t)
	backend := membucket.New()
	if err := backend.CreateBucket(t.Context(), "bucket"); err != nil {
		t.Fatal(err)
	}
	s := &s3Server{
		real: gofakes3.New(backend, gofakes3.WithV4Auth(map[string]string{"AKIDTEST": "secret"})).Server(),
		over: make(chan struct{}),
	}
	s.Server = httptest.NewUnstartedServer(s)
	s.StartTLS()
	t.Cleanup(func() {
		close(s.over)
		s.CloseClientConnections()
		s.Close()
	})
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(bundle, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	return s
}

// store returns the URL of a store on the server.
func (s *s3Server) store() string {
	return "s3://bucket/some/prefix?part-size=5MiB&endpoint=" + s.URL
}

func (s *s3Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	front := s.front
	s.mu.Unlock()
	if front != nil {
		front(w, r, s.real)
		return
	}
	s.real.ServeHTTP(w, r)
}

// place puts a handler before the server.
func (s *s3Server) place(front func(w http.ResponseWriter, r *http.Request, real http.Handler)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.front = front
}

// sampleDB makes a database with 500 kB in it.
func sampleDB(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	sh(t, path, fill("sample", 4000))
	return path
}

// TestMainJobOnS3 is the whole round on a server, over TLS.
func TestMainJobOnS3(t *testing.T) {
	s := newS3Server(t)
	mainJob(t, s.store())
}

// TestMainJobOnRealServers is the same on the stores in LITESTASH_TEST_S3, URLs separated by spaces.
func TestMainJobOnRealServers(t *testing.T) {
	for _, url := range realStores(t) {
		t.Run(url, func(t *testing.T) { mainJob(t, url) })
	}
}

// realStores returns the URLs of fresh stores on real servers. It skips the test if there are none.
func realStores(t *testing.T) []string {
	t.Helper()
	urls := strings.Fields(os.Getenv("LITESTASH_TEST_S3"))
	if len(urls) == 0 {
		if os.Getenv("LITESTASH_TEST_REQUIRE_SERVERS") == "1" {
			t.Fatal("LITESTASH_TEST_S3 names no store, and LITESTASH_TEST_REQUIRE_SERVERS=1 wants one")
		}
		t.Skip("LITESTASH_TEST_S3 names no store: set it to the URLs of stores on real servers to try those")
	}
	for i, url := range urls {
		urls[i] = freshPrefix(t, url)
	}
	return urls
}

// mainJob pushes, lists, shows, restores, verifies and deletes in an empty store.
func mainJob(t *testing.T, url string) {
	t.Helper()
	dir := t.TempDir()
	db, small := filepath.Join(dir, "it's an app.db"), filepath.Join(dir, "small.db")
	sh(t, db, "PRAGMA journal_mode=WAL; "+fill("one", 60000)) // some 7 MB: two parts
	sh(t, small, fill("small", 10))
	name := "tenants/4 2/päper.db"
	if got := lines(mustLite(t, "list", "-q", "--store", url)); len(got) != 1 {
		t.Fatalf("the store is not empty: %q", got)
	}

	one := strings.TrimSpace(mustLite(t, "push", "-q", db, "--name", name, "--store", url))
	oneDump := sh(t, db, ".sha3sum")
	sh(t, db, "UPDATE words SET word = 'two'; DELETE FROM noise WHERE id % 3 = 0; VACUUM")
	two := strings.TrimSpace(mustLite(t, "push", "-q", db, "--name", name, "--store", url))
	mustLite(t, "push", small, "--store", url)
	if got := snapshotsIn(t, url, name); !slices.Equal(got, []string{one, two}) {
		t.Fatalf("listed are %q, want %q", got, []string{one, two})
	}
	if out := mustLite(t, "list", "--store", url); !strings.Contains(out, name) || !strings.Contains(out, "small.db") {
		t.Errorf("list says:\n%s", out)
	}
	if out := mustLite(t, "show", name, one, "--store", url); !strings.Contains(out, one) {
		t.Errorf("show says:\n%s", out)
	}

	target := filepath.Join(dir, "out.db")
	mustLite(t, "restore", name, "-o", target, "--at", one, "--store", url)
	if got := sh(t, target, ".sha3sum"); got != oneDump {
		t.Error("the first snapshot is not what was pushed")
	}
	mustLite(t, "restore", name, "-o", target, "--replace", "--check", "full", "--store", url)
	if got, want := sh(t, target, ".sha3sum"), sh(t, db, ".sha3sum"); got != want {
		t.Error("the second snapshot is not what was pushed")
	}
	stream := mustLite(t, "restore", name, "-o", "-", "--store", url)
	if file, err := os.ReadFile(target); err != nil || string(file) != stream {
		t.Errorf("what comes through a pipe is not what is restored to a file: %v", err)
	}
	if out := mustLite(t, "verify", name, "--all-snapshots", "--store", url); strings.Count(out, "proved") != 2 {
		t.Errorf("verify says:\n%s", out)
	}

	mustLite(t, "delete", name, one, "--store", url)
	if code, _, errs := lite(t, "restore", name, "-o", filepath.Join(dir, "x.db"), "--at", one, "--store", url); code != exitNotFound {
		t.Errorf("restore of a deleted snapshot exits with %d: %s", code, errs)
	}
	mustLite(t, "delete", name, two, "--store", url)
	if got := snapshotsIn(t, url, name); len(got) != 0 {
		t.Errorf("after deleting all of them there are %q", got)
	}
	mustLite(t, "delete", "small.db", snapshotsIn(t, url, "small.db")[0], "--store", url)
}

// TestBadStores tries what can be wrong with a server and with the way to it. Each is a sentence
// that names the thing and a hint at the way out.
func TestBadStores(t *testing.T) {
	silent := silentServer(t)
	for _, c := range []struct {
		name       string
		set        func(t *testing.T, s *s3Server) (url string)
		args       []string // "list" if there are none; DB stands for a database
		code       int
		says, hint string
		within     time.Duration
	}{
		{
			name: "no bucket",
			set:  func(t *testing.T, s *s3Server) string { return "s3://nothere/p?endpoint=" + s.URL },
			code: exitFailed, says: "the bucket or directory does not exist", hint: "make it",
		},
		{
			name: "no bucket to push to",
			set:  func(t *testing.T, s *s3Server) string { return "s3://nothere/p?endpoint=" + s.URL },
			args: []string{"push", "DB"},
			code: exitFailed, says: "the bucket or directory does not exist", hint: "make it",
		},
		{
			name: "no credentials",
			set: func(t *testing.T, s *s3Server) string {
				os.Unsetenv("AWS_ACCESS_KEY_ID")
				os.Unsetenv("AWS_SECRET_ACCESS_KEY")
				// As outside a cloud, where nothing answers to the address of its metadata.
				t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://"+silent.address)
				return s.store()
			},
			args: []string{"push", "DB"},
			code: exitLockedOut, says: "no credentials", hint: "AWS_ACCESS_KEY_ID", within: time.Second,
		},
		{
			name: "unknown key",
			set: func(t *testing.T, s *s3Server) string {
				t.Setenv("AWS_ACCESS_KEY_ID", "AKIDWRONG")
				return s.store()
			},
			code: exitLockedOut, says: "InvalidAccessKeyId", hint: "give credentials",
		},
		{
			name: "wrong secret",
			set: func(t *testing.T, s *s3Server) string {
				t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
				return s.store()
			},
			args: []string{"push", "DB"},
			code: exitLockedOut, says: "SignatureDoesNotMatch", hint: "give credentials",
		},
		{
			name: "no such profile",
			set:  func(t *testing.T, s *s3Server) string { return s.store() + "&profile=nobody" },
			code: exitUsage, says: "nobody", hint: "s3://bucket/prefix",
		},
		{
			name: "not allowed",
			set: func(t *testing.T, s *s3Server) string {
				s.place(func(w http.ResponseWriter, r *http.Request, real http.Handler) {
					if r.Method == http.MethodPut || r.Method == http.MethodPost {
						refuse(w, http.StatusForbidden, "AccessDenied", "not yours")
						return
					}
					real.ServeHTTP(w, r)
				})
				return s.store()
			},
			args: []string{"push", "DB"},
			code: exitLockedOut, says: "AccessDenied: not yours", hint: "give credentials",
		},
		{
			name: "wrong region",
			set: func(t *testing.T, s *s3Server) string {
				s.place(func(w http.ResponseWriter, r *http.Request, real http.Handler) {
					w.Header().Set("X-Amz-Bucket-Region", "eu-west-3")
					refuse(w, http.StatusMovedPermanently, "PermanentRedirect", "elsewhere")
				})
				return s.store() + "&region=eu-central-1"
			},
			code: exitFailed, says: "bucket bucket is in region eu-west-3, not in eu-central-1", hint: "?region=",
		},
		{
			name: "nobody listens",
			set: func(t *testing.T, s *s3Server) string {
				t.Setenv("AWS_MAX_ATTEMPTS", "2")
				s.Close()
				return s.store()
			},
			code: exitUnreachable, says: "connection refused", hint: "try again",
		},
		{
			name: "out of order",
			set: func(t *testing.T, s *s3Server) string {
				t.Setenv("AWS_MAX_ATTEMPTS", "2")
				s.place(func(w http.ResponseWriter, r *http.Request, real http.Handler) {
					refuse(w, http.StatusServiceUnavailable, "SlowDown", "later")
				})
				return s.store()
			},
			args: []string{"push", "DB"},
			code: exitUnreachable, says: "SlowDown: later", hint: "try again",
		},
		{
			name: "a certificate that nobody vouches for",
			set: func(t *testing.T, s *s3Server) string {
				os.Unsetenv("AWS_CA_BUNDLE")
				t.Setenv("AWS_MAX_ATTEMPTS", "2")
				s.Config.ErrorLog = log.New(io.Discard, "", 0) // it would tell of each attempt
				return s.store()
			},
			code: exitUnreachable, says: "certificate", hint: "AWS_CA_BUNDLE",
		},
		{
			name: "a clock ten minutes off",
			set: func(t *testing.T, s *s3Server) string {
				s.place(func(w http.ResponseWriter, r *http.Request, real http.Handler) {
					w.Header().Set("Date", time.Now().Add(10*time.Minute).UTC().Format(http.TimeFormat))
					real.ServeHTTP(w, r)
				})
				return s.store()
			},
			args: []string{"push", "DB"},
			code: exitRefused, says: "the clocks disagree: here it is ", hint: "set this host's clock",
		},
		{
			name: "a clock so far off that signatures are not taken",
			set: func(t *testing.T, s *s3Server) string {
				s.place(func(w http.ResponseWriter, r *http.Request, real http.Handler) {
					w.Header().Set("Date", "Tue, 01 Nov 2022 07:30:00 GMT")
					refuse(w, http.StatusForbidden, "RequestTimeTooSkewed", "too far")
				})
				return s.store()
			},
			code: exitRefused, says: "the store's clock says 2022-11-01T07:30:00Z and this host's ", hint: "set this host's clock",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newS3Server(t)
			args, db := slices.Clone(c.args), sampleDB(t)
			if len(args) == 0 {
				args = []string{"list"}
			}
			if i := slices.Index(args, "DB"); i >= 0 {
				args[i] = db
			}
			args = append(args, "--store", c.set(t, s))
			start := time.Now()
			code, out, errs := lite(t, args...)
			elapsed := time.Since(start)
			if code != c.code || out != "" {
				t.Errorf("litestash %q exits with %d and prints %q, want %d and nothing", args, code, out, c.code)
			}
			said := lines(errs)
			if len(said) != 2 || !strings.HasPrefix(said[0], "litestash: ") || !strings.Contains(said[0], c.says) {
				t.Errorf("litestash %q says:\n%swant one sentence with %q and a hint", args, errs, c.says)
			}
			if !strings.Contains(said[len(said)-1], "hint: ") || !strings.Contains(said[len(said)-1], c.hint) {
				t.Errorf("litestash %q hints: %q, want %q", args, said[len(said)-1], c.hint)
			}
			if strings.Contains(errs, "secret") {
				t.Errorf("a secret is told: %s", errs)
			}
			t.Logf("%v: %s", elapsed.Round(time.Millisecond), errs)
			if c.within > 0 && elapsed > c.within {
				t.Errorf("it took %v, want at most %v", elapsed, c.within)
			}
		})
	}
}

// refuse answers as S3 does.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	w.Write([]byte("<Error><Code>" + code + "</Code><Message>" + message + "</Message></Error>"))
}

// A silent server takes connections and never answers.
type silent struct {
	address string
	taken   chan struct{} // closed when the first connection was taken
}

func silentServer(t *testing.T) *silent {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &silent{l.Addr().String(), make(chan struct{})}
	var all []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			if all = append(all, c); len(all) == 1 {
				close(s.taken)
			}
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		for _, c := range all {
			c.Close()
		}
	})
	return s
}

// TestServerWithoutCreateOnly is the main job on a server that refuses conditions with 501.
func TestServerWithoutCreateOnly(t *testing.T) {
	s := newS3Server(t)
	var refused atomic.Int32
	s.place(func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		if r.Header.Get("If-None-Match") != "" {
			refused.Add(1)
			refuse(w, http.StatusNotImplemented, "NotImplemented", "If-None-Match is not implemented")
			return
		}
		real.ServeHTTP(w, r)
	})
	mainJob(t, s.store())
	if refused.Load() == 0 {
		t.Error("nothing was created under a condition")
	}
}

// freshPrefix returns the URL with a prefix that nothing is below, and empties that at the end.
func freshPrefix(t *testing.T, raw string) string {
	t.Helper()
	bucket, query, _ := strings.Cut(raw, "?")
	fresh := strings.TrimSuffix(bucket, "/") + "/" + "cmd-" + time.Now().UTC().Format("20060102T150405.000000000") + "?" + query
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		st, err := store.Open(ctx, fresh, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for o, err := range st.List(ctx, store.Query{}) {
			if err == nil {
				err = st.Delete(ctx, o.Key)
			}
			if err != nil {
				t.Fatalf("empty the store: %v", err)
			}
		}
	})
	return fresh
}
