package store_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/rclone/gofakes3"

	"github.com/litestash/litestash/internal/membucket"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

const (
	testKeyID  = "AKIDTEST"
	testSecret = "secret+/for=tests"
)

// A request is what a fake server keeps of one that it got.
type request struct {
	op     string // the method, with "+part", "+begin" or "+complete" for those of multipart uploads
	path   string
	query  string
	header http.Header
	size   int64
}

// A fake is an S3 server in this process, with the bucket "bucket" and without any faults of its
// own: a test puts its handler in front.
type fake struct {
	url     string
	backend *membucket.Backend
	real    http.Handler

	commits sync.Mutex // held while an object appears: conditions are not atomic in gofakes3

	closed chan struct{} // closed at the end of the test

	mu    sync.Mutex
	front func(w http.ResponseWriter, r *http.Request, real http.Handler)
	seen  []request
}

// newFake starts a server behind TLS, and sets the environment so that it is trusted and that the
// right keys are used.
func newFake(t *testing.T) *fake {
	t.Helper()
	f := newPlainFake(t, true)
	return f
}

// newPlainFake starts a server with TLS or without.
func newPlainFake(t *testing.T, overTLS bool) *fake {
	t.Helper()
	storetest.CleanEnv(t)
	f := &fake{backend: membucket.New(), closed: make(chan struct{})}
	if err := f.backend.CreateBucket(t.Context(), "bucket"); err != nil {
		t.Fatal(err)
	}
	server3 := gofakes3.New(f.backend, gofakes3.WithV4Auth(map[string]string{testKeyID: testSecret})).Server()
	f.real = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if op := opOf(r); op == "PUT" || op == "POST+complete" {
			f.commits.Lock()
			defer f.commits.Unlock()
		}
		server3.ServeHTTP(w, r)
	})
	server := httptest.NewUnstartedServer(f)
	if overTLS {
		server.StartTLS()
		bundle := filepath.Join(t.TempDir(), "ca.pem")
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
		if err := os.WriteFile(bundle, ca, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("AWS_CA_BUNDLE", bundle)
	} else {
		server.Start()
	}
	t.Cleanup(func() {
		close(f.closed)
		server.CloseClientConnections()
		server.Close()
	})
	f.url = server.URL
	t.Setenv("AWS_ACCESS_KEY_ID", testKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", testSecret)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.seen = append(f.seen, request{opOf(r), r.URL.Path, r.URL.RawQuery, r.Header.Clone(), r.ContentLength})
	front := f.front
	f.mu.Unlock()
	if front == nil {
		front = func(w http.ResponseWriter, r *http.Request, real http.Handler) { real.ServeHTTP(w, r) }
	}
	front(w, r, f.real)
}

func opOf(r *http.Request) string {
	q := r.URL.Query()
	switch {
	case q.Has("partNumber"):
		return "PUT+part"
	case r.Method == "POST" && q.Has("uploads"):
		return "POST+begin"
	case r.Method == "POST" && q.Has("uploadId"):
		return "POST+complete"
	case r.Method == "GET" && q.Has("list-type"):
		return "GET+list"
	}
	return r.Method
}

// place puts the handler between the server and its clients from now on.
func (f *fake) place(front func(w http.ResponseWriter, r *http.Request, real http.Handler)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.front = front
}

// forget empties the list of requests, and returns what it held.
func (f *fake) forget() []request {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := f.seen
	f.seen = nil
	return seen
}

// count returns how many requests of the kind op came.
func (f *fake) count(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, r := range f.seen {
		if r.op == op {
			n++
		}
	}
	return n
}

// open returns a store in the fake. Change may be nil.
func (f *fake) open(t *testing.T, change func(*store.S3Options)) *store.S3 {
	t.Helper()
	opts := store.S3Options{
		Bucket: "bucket", Prefix: "some/prefix", Endpoint: f.url, PartSize: 5 << 20, StallTimeout: 5 * time.Second,
	}
	opts.SetBackoff(20 * time.Millisecond)
	if change != nil {
		change(&opts)
	}
	s, err := store.OpenS3(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// uploads returns how many multipart uploads are under way or abandoned. It ends the faults.
func (f *fake) uploads(t *testing.T) int {
	t.Helper()
	f.place(nil)
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("us-east-1"))
	if err != nil {
		t.Fatal(err)
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = &f.url, true })
	out, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String("bucket")})
	if err != nil {
		t.Fatal(err)
	}
	return len(out.Uploads)
}
