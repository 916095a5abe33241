package store_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

// onFirst lets fault handle the first n requests of the kind op.
func (f *fake) onFirst(n int64, op string, fault func(w http.ResponseWriter, r *http.Request, real http.Handler)) {
	var seen atomic.Int64
	f.place(func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		if opOf(r) == op && seen.Add(1) <= n {
			fault(w, r, real)
			return
		}
		real.ServeHTTP(w, r)
	})
}

// always is for onFirst.
const always = 1 << 40

// loseReply does what is asked and then breaks the connection.
func loseReply(_ http.ResponseWriter, r *http.Request, real http.Handler) {
	real.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// stall neither reads the request nor answers until the client gives up or the test ends.
func (f *fake) stall(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	select {
	case <-r.Context().Done():
	case <-f.closed:
	}
	panic(http.ErrAbortHandler)
}

func unavailable(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	io.Copy(io.Discard, r.Body)
	answer(w, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
}

// mustHold fails the test unless key holds data.
func mustHold(t *testing.T, s store.Store, key string, data []byte) {
	t.Helper()
	found := storetest.All(t, s, store.Query{Prefix: key})
	if len(found) != 1 || found[0].Key != key {
		t.Fatalf("%s: listed %v", key, found)
	}
	if got := storetest.Get(t, s, found[0], 0, -1); !bytes.Equal(got, data) {
		t.Errorf("%s holds %d bytes that differ", key, len(got))
	}
}

func TestS3LostReplies(t *testing.T) {
	small, large := storetest.Bytes(1000), storetest.Bytes(2*storetest.Chunk+1)
	for _, tt := range []struct {
		op    string
		times int64
		data  []byte
	}{
		{"PUT", 1, small}, {"PUT", always, small},
		{"PUT+part", 2, large},
		{"POST+complete", 1, large}, {"POST+complete", always, large},
		{"POST+begin", 1, large},
	} {
		for _, change := range []func(*store.S3Options){nil, func(o *store.S3Options) { o.NoCreateOnly = true }} {
			t.Run(fmt.Sprintf("%s/%d/plain=%t", tt.op, tt.times, change != nil), func(t *testing.T) {
				f := newFake(t)
				s := f.open(t, change)
				f.onFirst(tt.times, tt.op, loseReply)
				o, err := s.Create(t.Context(), "dir/key", bytes.NewReader(tt.data), 0)
				if err != nil {
					t.Fatal(err)
				}
				if o.Size != int64(len(tt.data)) || o.ETag == "" {
					t.Errorf("object %+v", o)
				}
				mustHold(t, s, "dir/key", tt.data)
			})
		}
	}
}

// TestS3LostReplyThenRefused loses the answer to what was carried out, and has the credentials expire before it is
// tried again: that refusal is not the answer.
func TestS3LostReplyThenRefused(t *testing.T) {
	for op, data := range map[string][]byte{"PUT": storetest.Bytes(1000), "POST+complete": storetest.Bytes(2*storetest.Chunk + 1)} {
		t.Run(op, func(t *testing.T) {
			f := newFake(t)
			s := f.open(t, nil)
			var tries atomic.Int64
			f.onFirst(always, op, func(w http.ResponseWriter, r *http.Request, real http.Handler) {
				if tries.Add(1) == 1 {
					loseReply(w, r, real)
					return
				}
				io.Copy(io.Discard, r.Body)
				answer(w, http.StatusForbidden, "AccessDenied", "Access Denied.")
			})
			if _, err := s.Create(t.Context(), "dir/key", bytes.NewReader(data), 0); err != nil {
				t.Fatal(err)
			}
			if tries.Load() != 2 {
				t.Errorf("it was tried %d times", tries.Load())
			}
			mustHold(t, s, "dir/key", data)
		})
	}
}

func TestS3LostReplyOnTakenKey(t *testing.T) {
	for _, size := range []int{6, storetest.Chunk + 1} {
		f := newFake(t)
		s := f.open(t, nil)
		storetest.Put(t, s, "key", []byte("first"))
		f.onFirst(always, "PUT", loseReply)
		_, err := s.Create(t.Context(), "key", bytes.NewReader(storetest.Bytes(size)), 0)
		if !errors.Is(err, fs.ErrExist) {
			t.Errorf("%d bytes: %v, want %v", size, err, fs.ErrExist)
		}
		mustHold(t, s, "key", []byte("first"))
	}
}

func TestS3Unknown(t *testing.T) {
	f := newFake(t)
	t.Setenv("AWS_MAX_ATTEMPTS", "2")
	s := f.open(t, nil)
	f.place(func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		if r.Method == "HEAD" {
			unavailable(w, r, real)
			return
		}
		loseReply(w, r, real)
	})
	_, err := s.Create(t.Context(), "key", strings.NewReader("data"), 4)
	if !errors.Is(err, store.ErrUnknown) {
		t.Errorf("got %v, want %v", err, store.ErrUnknown)
	}
}

// A conflict with another request to the key is tried again, as
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html asks.
func TestS3Conflict(t *testing.T) {
	for _, op := range []string{"PUT", "POST+complete"} {
		f := newFake(t)
		s := f.open(t, nil)
		f.onFirst(2, op, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			io.Copy(io.Discard, r.Body)
			answer(w, http.StatusConflict, "ConditionalRequestConflict", "conflict")
		})
		data := storetest.Bytes(1000)
		if op != "PUT" {
			data = storetest.Bytes(storetest.Chunk + 1)
		}
		if _, err := s.Create(t.Context(), "key", bytes.NewReader(data), 0); err != nil {
			t.Fatal(err)
		}
		mustHold(t, s, "key", data)
	}
}

func TestS3RemembersRefusal(t *testing.T) {
	f := newFake(t)
	s := f.open(t, nil)
	f.place(refuseCreateOnly)
	storetest.Put(t, s, "1", []byte("x"))
	f.forget()
	storetest.Put(t, s, "2", []byte("x"))
	if n := f.count("PUT"); n != 1 {
		t.Errorf("%d PUT requests for the second object, want 1", n)
	}
}

func TestS3StalledOnce(t *testing.T) {
	small, large := storetest.Bytes(1000), storetest.Bytes(storetest.Chunk+1)
	for _, tt := range []struct {
		op   string
		data []byte
	}{{"PUT", small}, {"HEAD", small}, {"PUT+part", large}, {"POST+begin", large}, {"GET", small}, {"GET+list", small}} {
		t.Run(tt.op, func(t *testing.T) {
			f := newFake(t)
			s := f.open(t, func(o *store.S3Options) { o.StallTimeout = 300 * time.Millisecond })
			f.onFirst(1, tt.op, f.stall)
			storetest.Put(t, s, "dir/key", tt.data)
			mustHold(t, s, "dir/key", tt.data)
			if f.count(tt.op) < 2 {
				t.Error("the request that stalled was not sent again")
			}
		})
	}
}

func TestS3StalledForEver(t *testing.T) {
	f := newFake(t)
	t.Setenv("AWS_MAX_ATTEMPTS", "2")
	s := f.open(t, func(o *store.S3Options) { o.StallTimeout = 200 * time.Millisecond })
	o := storetest.Put(t, s, "there", []byte("x"))
	f.place(f.stall)
	// A key that the server may have stored is not settled while the server stalls.
	_, err := s.Create(t.Context(), "key", strings.NewReader("data"), 4)
	if !errors.Is(err, store.ErrUnreachable) || !errors.Is(err, store.ErrUnknown) {
		t.Errorf("create: %v", err)
	}
	if _, err := s.Open(t.Context(), o, 0, -1); !errors.Is(err, store.ErrUnreachable) {
		t.Errorf("open: %v", err)
	}
	if err := s.Delete(t.Context(), "there"); !errors.Is(err, store.ErrUnreachable) {
		t.Errorf("delete: %v", err)
	}
	if err := storetest.ListError(t, s, store.Query{}); !errors.Is(err, store.ErrUnreachable) {
		t.Errorf("list: %v", err)
	}
}

// pace is a little less than the stall timeout of the tests that use it.
const pace = 30 * time.Millisecond

func TestS3SlowUpload(t *testing.T) {
	const stall = 100 * pace // enough for the fake to make an object of it all, with the race detector, too
	f := newFake(t)
	s := f.open(t, func(o *store.S3Options) { o.StallTimeout, o.PartSize = stall, 16<<20 })
	var took atomic.Int64
	f.onFirst(always, "PUT", func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		start := time.Now()
		var body bytes.Buffer
		buf := make([]byte, 128<<10)
		for {
			n, err := io.ReadFull(r.Body, buf)
			body.Write(buf[:n])
			if err != nil {
				break
			}
			time.Sleep(pace)
		}
		took.Store(int64(time.Since(start)))
		r.Body = io.NopCloser(&body)
		real.ServeHTTP(w, r)
	})
	data := storetest.Bytes(16 << 20) // more than the buffers on the way hold
	storetest.Put(t, s, "key", data)
	if n := f.count("PUT"); n != 1 {
		t.Errorf("%d PUT requests", n)
	}
	if took := time.Duration(took.Load()); took < stall {
		t.Fatalf("the upload took only %v, which proves nothing", took)
	}
	mustHold(t, s, "key", data)
}

func TestS3SlowDownload(t *testing.T) {
	f := newFake(t)
	s := f.open(t, func(o *store.S3Options) { o.StallTimeout = 10 * pace })
	data := storetest.Bytes(2000)
	o := storetest.Put(t, s, "key", data)
	f.forget()
	f.onFirst(always, "GET", func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		rec := httptest.NewRecorder()
		real.ServeHTTP(rec, r)
		copyHead(w, rec)
		for part := range slices.Chunk(rec.Body.Bytes(), 100) {
			w.Write(part)
			w.(http.Flusher).Flush()
			time.Sleep(pace)
		}
	})
	if got := storetest.Get(t, s, o, 0, -1); !bytes.Equal(got, data) {
		t.Error("what was read differs")
	}
	if n := f.count("GET"); n != 1 {
		t.Errorf("%d GET requests", n)
	}
}

// A reader that takes its time is no stall.
func TestS3SlowConsumer(t *testing.T) {
	f := newFake(t)
	s := f.open(t, func(o *store.S3Options) { o.StallTimeout = 5 * pace })
	data := storetest.Bytes(4 << 20)
	o := storetest.Put(t, s, "key", data)
	f.forget()
	r, err := s.Open(t.Context(), o, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	head := make([]byte, 1000)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * pace)
	rest, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(append(head, rest...), data) {
		t.Errorf("read %d bytes, %v", len(rest), err)
	}
	if n := f.count("GET"); n != 1 {
		t.Errorf("%d GET requests", n)
	}
}

func copyHead(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
}

// breakAfter sends the first n bytes of an answer and then does what end does.
func breakAfter(n int, end func(r *http.Request)) func(w http.ResponseWriter, r *http.Request, real http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		rec := httptest.NewRecorder()
		real.ServeHTTP(rec, r)
		copyHead(w, rec)
		w.Write(rec.Body.Bytes()[:min(n, rec.Body.Len())])
		w.(http.Flusher).Flush()
		end(r)
		panic(http.ErrAbortHandler)
	}
}

func TestS3BodyResumes(t *testing.T) {
	cut := func(*http.Request) {}
	stop := func(r *http.Request) { <-r.Context().Done() }
	for name, end := range map[string]func(*http.Request){"truncated": cut, "stalled": stop} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			s := f.open(t, func(o *store.S3Options) { o.StallTimeout = 300 * time.Millisecond })
			data := storetest.Bytes(100_000)
			o := storetest.Put(t, s, "key", data)
			f.forget()
			f.onFirst(8, "GET", breakAfter(10_000, end)) // each brings something, so 8 are not too many
			if got := storetest.Get(t, s, o, 5000, 90_000); !bytes.Equal(got, data[5000:95_000]) {
				t.Errorf("read %d bytes that differ", len(got))
			}
			seen := f.forget()
			if len(seen) != 9 {
				t.Fatalf("%d requests, want 9", len(seen))
			}
			for i, r := range seen {
				want := fmt.Sprintf("bytes=%d-94999", 5000+10_000*i)
				if r.header.Get("Range") != want || r.header.Get("If-Match") == "" {
					t.Errorf("request %d: range %q, want %q; if-match %q", i, r.header.Get("Range"), want, r.header.Get("If-Match"))
				}
			}
		})
	}
}

func TestS3BodyNeverEnds(t *testing.T) {
	f := newFake(t)
	s := f.open(t, nil)
	o := storetest.Put(t, s, "key", storetest.Bytes(1000))
	f.onFirst(always, "GET", breakAfter(0, func(*http.Request) {}))
	r, err := s.Open(t.Context(), o, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, err = io.ReadAll(r)
	if !errors.Is(err, store.ErrUnreachable) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want %v and %v", err, store.ErrUnreachable, io.ErrUnexpectedEOF)
	}
}

func TestS3BodyReplaced(t *testing.T) {
	f := newFake(t)
	s := f.open(t, nil)
	o := storetest.Put(t, s, "key", storetest.Bytes(1000))
	f.onFirst(1, "GET", breakAfter(500, func(*http.Request) {
		meta := map[string]string{}
		if _, err := f.backend.PutObject(context.Background(), "bucket", "some/prefix/key", meta, bytes.NewReader(make([]byte, 1000)), 1000); err != nil {
			t.Error(err)
		}
	}))
	r, err := s.Open(t.Context(), o, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if data, err := io.ReadAll(r); !errors.Is(err, store.ErrChanged) || len(data) != 500 {
		t.Errorf("read %d bytes and %v, want 500 and %v", len(data), err, store.ErrChanged)
	}
}

// Some servers ignore If-Match, and some ranges.
func TestS3ServerIgnoresHeaders(t *testing.T) {
	f := newFake(t)
	s := f.open(t, nil)
	old := storetest.Put(t, s, "key", []byte("old content"))
	if err := s.Delete(t.Context(), "key"); err != nil {
		t.Fatal(err)
	}
	now := storetest.Put(t, s, "key", []byte("new content"))
	f.place(func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("ETag", `"`+now.ETag+`"`)
		w.Header().Set("Content-Length", "11")
		io.WriteString(w, "new content")
	})
	for _, n := range []int64{-1, 0} {
		if _, err := s.Open(t.Context(), old, 0, n); !errors.Is(err, store.ErrChanged) {
			t.Errorf("%d bytes of the old version: %v, want %v", n, err, store.ErrChanged)
		}
	}
	if r, err := s.Open(t.Context(), now, 4, 3); err == nil {
		r.Close()
		t.Error("the whole object was taken for a range of it")
	}
	if got := storetest.Get(t, s, now, 0, -1); string(got) != "new content" {
		t.Errorf("read %q", got)
	}
}

func TestS3SizeDiffers(t *testing.T) {
	f := newFake(t)
	s := f.open(t, nil)
	f.onFirst(1, "HEAD", func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		rec := httptest.NewRecorder()
		real.ServeHTTP(rec, r)
		rec.Header().Set("Content-Length", strconv.Itoa(7))
		copyHead(w, rec)
	})
	if _, err := s.Create(t.Context(), "key", strings.NewReader("eight by"), 8); err == nil {
		t.Error("an object of another size was taken for what was sent")
	}
	if keys := storetest.Keys(t, s, store.Query{}); keys != nil {
		t.Errorf("left: %q", keys)
	}
}

func TestS3PassingFailures(t *testing.T) {
	for _, op := range []string{"PUT", "HEAD"} {
		f := newFake(t)
		s := f.open(t, nil)
		f.onFirst(2, op, unavailable)
		storetest.Put(t, s, "key", []byte("data"))
		mustHold(t, s, "key", []byte("data"))
	}
}

func TestS3LastingFailures(t *testing.T) {
	f := newFake(t)
	s := f.open(t, nil)
	f.place(unavailable)
	if err := storetest.ListError(t, s, store.Query{}); !errors.Is(err, store.ErrUnreachable) || !strings.Contains(err.Error(), "SlowDown") {
		t.Errorf("list: %v", err)
	}
	if n := f.count("GET+list"); n != 5 {
		t.Errorf("%d attempts, want 5", n)
	}
}

func TestS3Refused(t *testing.T) {
	storetest.CleanEnv(t)
	t.Setenv("AWS_ACCESS_KEY_ID", testKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", testSecret)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for _, endpoint := range []string{"http://" + l.Addr().String(), "http://nosuch.invalid"} {
		s, err := store.OpenS3(t.Context(), store.S3Options{Bucket: "bucket", Endpoint: endpoint})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = s.Create(t.Context(), "key", strings.NewReader("x"), 1)
		if !errors.Is(err, store.ErrUnreachable) || errors.Is(err, store.ErrUnknown) || !strings.Contains(err.Error(), endpoint) {
			t.Errorf("create: %v", err)
		}
		// All pauses together are two seconds at most.
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: it took %v", endpoint, took)
		}
		if _, err := s.Skew(t.Context()); !errors.Is(err, store.ErrUnreachable) {
			t.Errorf("skew: %v", err)
		}
	}
}

// A server that is restarted in the middle of an upload must get the time for it.
func TestS3RetryDelay(t *testing.T) {
	f := newFake(t)
	s := f.open(t, func(o *store.S3Options) { o.SetBackoff(5 * time.Second) })
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	refused := &smithyhttp.RequestSendError{Err: dial}
	check := func(when string, cause error, want time.Duration) {
		t.Helper()
		if got, err := s.RetryDelay(4, cause); got != want || err != nil {
			t.Errorf("%s, after %v: pause of %v, %v, want %v", when, cause, got, err, want)
		}
	}
	check("at first", refused, 500*time.Millisecond)
	check("at first", io.ErrUnexpectedEOF, 5*time.Second)
	f.place(func(w http.ResponseWriter, r *http.Request, _ http.Handler) { answer(w, 403, "AccessDenied", "no") })
	if err := s.Delete(t.Context(), "key"); !errors.Is(err, store.ErrDenied) {
		t.Fatal(err)
	}
	check("once it has answered", refused, 5*time.Second)
}

func TestS3UntrustedCertificate(t *testing.T) {
	f := newFake(t)
	os.Unsetenv("AWS_CA_BUNDLE")
	s := f.open(t, nil)
	_, err := s.Create(t.Context(), "key", strings.NewReader("x"), 1)
	var untrusted x509.UnknownAuthorityError
	if !errors.As(err, &untrusted) || !errors.Is(err, store.ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}

func TestS3WrongKeys(t *testing.T) {
	for _, tt := range []struct{ id, secret string }{{testKeyID, "wrong"}, {"AKIDWRONG", testSecret}} {
		f := newFake(t)
		t.Setenv("AWS_ACCESS_KEY_ID", tt.id)
		t.Setenv("AWS_SECRET_ACCESS_KEY", tt.secret)
		s := f.open(t, nil)
		if _, err := s.Create(t.Context(), "key", strings.NewReader("x"), 1); !errors.Is(err, store.ErrDenied) {
			t.Errorf("create: %v, want %v", err, store.ErrDenied)
		}
		if _, err := s.Open(t.Context(), store.Object{Key: "key"}, 0, 1); !errors.Is(err, store.ErrDenied) {
			t.Errorf("open: %v, want %v", err, store.ErrDenied)
		}
		if err := storetest.ListError(t, s, store.Query{}); !errors.Is(err, store.ErrDenied) {
			t.Errorf("list: %v, want %v", err, store.ErrDenied)
		}
	}
}

// Whether credentials lack a right, or are none, is told apart, and is called the same.
func TestS3Forbidden(t *testing.T) {
	f := newFake(t)
	s := f.open(t, nil)
	for code, want := range map[string]bool{"AccessDenied": true, "InvalidAccessKeyId": false, "ExpiredToken": false} {
		f.place(func(w http.ResponseWriter, r *http.Request, _ http.Handler) { answer(w, 403, code, "no") })
		err := s.Delete(t.Context(), "key")
		if !errors.Is(err, store.ErrDenied) || errors.Is(err, store.ErrForbidden) != want || !strings.Contains(err.Error(), "access denied: "+code+": no") {
			t.Errorf("%s: %v", code, err)
		}
	}
}

// versitygw's answer to an access key that it does not know looks like one about a missing object.
func TestS3UnknownUser(t *testing.T) {
	f := newFake(t)
	s := f.open(t, nil)
	f.place(func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		io.Copy(io.Discard, r.Body)
		answer(w, http.StatusNotFound, "XAdminUserNotFound", "No user exists with the provided access key ID.")
	})
	if _, err := s.Create(t.Context(), "key", strings.NewReader("x"), 1); !errors.Is(err, store.ErrDenied) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("create: %v, want %v", err, store.ErrDenied)
	}
	if err := storetest.ListError(t, s, store.Query{}); !errors.Is(err, store.ErrDenied) {
		t.Errorf("list: %v, want %v", err, store.ErrDenied)
	}
	// An absent key is no error for Delete, and an unset rule none for Lifecycle, but this is.
	if err := s.Delete(t.Context(), "key"); !errors.Is(err, store.ErrDenied) {
		t.Errorf("delete: %v, want %v", err, store.ErrDenied)
	}
	if _, err := s.Lifecycle(t.Context()); !errors.Is(err, store.ErrDenied) {
		t.Errorf("lifecycle: %v, want %v", err, store.ErrDenied)
	}
}

// Where nothing is configured the SDK asks for an instance's role, at an address where nobody may
// ever answer.
func TestS3NoCredentials(t *testing.T) {
	storetest.CleanEnv(t)
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and leaves them
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://"+l.Addr().String())
	start := time.Now()
	_, err = store.OpenS3(t.Context(), store.S3Options{Bucket: "bucket", Region: "eu-west-1"})
	if !errors.Is(err, store.ErrDenied) {
		t.Errorf("got %v, want %v", err, store.ErrDenied)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestS3NoBucket(t *testing.T) {
	f := newFake(t)
	s := f.open(t, func(o *store.S3Options) { o.Bucket = "missing" })
	for _, size := range []int{1, storetest.Chunk + 1} {
		if _, err := s.Create(t.Context(), "key", bytes.NewReader(storetest.Bytes(size)), 0); !errors.Is(err, store.ErrNoBucket) {
			t.Errorf("create %d bytes: %v, want %v", size, err, store.ErrNoBucket)
		}
	}
	if err := storetest.ListError(t, s, store.Query{}); !errors.Is(err, store.ErrNoBucket) {
		t.Errorf("list: %v, want %v", err, store.ErrNoBucket)
	}
}

func TestS3WrongRegion(t *testing.T) {
	for name, front := range map[string]func(http.ResponseWriter, *http.Request, http.Handler){
		"redirect": func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			w.Header().Set("X-Amz-Bucket-Region", "eu-north-1")
			answer(w, http.StatusMovedPermanently, "PermanentRedirect", "The bucket must be addressed using the specified endpoint.")
		},
		"malformed": func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			answer(w, http.StatusBadRequest, "AuthorizationHeaderMalformed",
				"The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-north-1'")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			s := f.open(t, nil)
			f.place(front)
			_, err := s.Create(t.Context(), "key", strings.NewReader("x"), 1)
			var region *store.RegionError
			if !errors.As(err, &region) || region.Want != "eu-north-1" || region.Asked != "us-east-1" || region.Bucket != "bucket" {
				t.Errorf("create: %v", err)
			}
		})
	}
}

func TestS3ClocksDiffer(t *testing.T) {
	f := newFake(t)
	s := f.open(t, nil)
	ahead := time.Now().Add(time.Hour)
	f.place(func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Date", ahead.UTC().Format(http.TimeFormat))
		answer(w, http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
	})
	_, err := s.Create(t.Context(), "key", strings.NewReader("x"), 1)
	var clock *store.ClockError
	if !errors.As(err, &clock) {
		t.Fatalf("create: %v", err)
	}
	if got := clock.Store.Sub(clock.Local); (got - time.Hour).Abs() > time.Minute {
		t.Errorf("clocks %v apart", got)
	}
	skew, err := s.Skew(t.Context())
	if err != nil || (skew-time.Hour).Abs() > time.Minute {
		t.Errorf("skew %v, %v", skew, err)
	}
}

func TestS3NothingIsLeft(t *testing.T) {
	broken := errors.New("broken body")
	for name, tt := range map[string]struct {
		op    string
		fault func(http.ResponseWriter, *http.Request, http.Handler)
		body  io.Reader
	}{
		"body":     {"", nil, io.MultiReader(bytes.NewReader(storetest.Bytes(3*storetest.Chunk)), iotest.ErrReader(broken))},
		"part":     {"PUT+part", func(w http.ResponseWriter, r *http.Request, _ http.Handler) { answer(w, 400, "InvalidRequest", "no") }, nil},
		"complete": {"POST+complete", func(w http.ResponseWriter, r *http.Request, _ http.Handler) { answer(w, 400, "InvalidPart", "no") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			s := f.open(t, nil)
			f.onFirst(always, tt.op, tt.fault)
			body := tt.body
			if body == nil {
				body = bytes.NewReader(storetest.Bytes(3 * storetest.Chunk))
			}
			_, err := s.Create(t.Context(), "dir/key", body, 0)
			if err == nil || tt.body != nil && !errors.Is(err, broken) || errors.Is(err, context.Canceled) {
				t.Errorf("create: %v", err)
			}
			if n := f.uploads(t); n != 0 {
				t.Errorf("%d uploads left", n)
			}
			if keys := storetest.Keys(t, s, store.Query{}); keys != nil {
				t.Errorf("left: %q", keys)
			}
		})
	}
}

func TestS3CancelAborts(t *testing.T) {
	f := newFake(t)
	s := f.open(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	f.onFirst(1, "PUT+part", func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		cancel()
		f.stall(w, r, real)
	})
	_, err := s.Create(ctx, "dir/key", bytes.NewReader(storetest.Bytes(3*storetest.Chunk)), 0)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("create: %v", err)
	}
	if n := f.uploads(t); n != 0 {
		t.Errorf("%d uploads left", n)
	}
}

// abandon leaves an upload behind as a killed process does.
func abandon(t *testing.T, f *fake, s store.Store, key string) {
	t.Helper()
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	f.place(func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		if r.Method == "DELETE" || opOf(r) == "POST+complete" {
			answer(w, 400, "InvalidRequest", "no")
			return
		}
		real.ServeHTTP(w, r)
	})
	if _, err := s.Create(t.Context(), key, bytes.NewReader(storetest.Bytes(storetest.Chunk+1)), 0); err == nil {
		t.Fatal("the upload was not abandoned")
	}
	f.place(nil)
}

// TestS3AbortsStray cannot abort an upload, as when the network is gone, and does so with the next one.
func TestS3AbortsStray(t *testing.T) {
	f := newFake(t)
	s := f.open(t, nil)
	abandon(t, f, s, "dir/key")
	if n := f.uploads(t); n != 1 {
		t.Fatalf("%d uploads left", n)
	}
	storetest.Put(t, s, "elsewhere/small", []byte("one part"))
	storetest.Put(t, s, "elsewhere/large", storetest.Bytes(storetest.Chunk+1))
	if n := f.uploads(t); n != 0 {
		t.Errorf("%d uploads left", n)
	}
}

// TestS3StrayIsGone loses the answer to the abort of an upload: that it is not there any more ends it.
func TestS3StrayIsGone(t *testing.T) {
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	f := newFake(t)
	s := f.open(t, nil)
	f.place(func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		switch {
		case opOf(r) == "POST+complete":
			answer(w, 400, "InvalidRequest", "no")
		case r.Method == http.MethodDelete:
			loseReply(w, r, real)
		default:
			real.ServeHTTP(w, r)
		}
	})
	large := storetest.Bytes(storetest.Chunk + 1)
	if _, err := s.Create(t.Context(), "dir/key", bytes.NewReader(large), 0); err == nil {
		t.Fatal("the upload was not abandoned")
	}
	f.place(nil)
	for _, c := range []struct {
		key    string
		aborts int
	}{{"dir/one", 1}, {"dir/two", 0}} {
		f.forget()
		storetest.Put(t, s, c.key, large)
		aborts := 0
		for _, r := range f.forget() {
			if strings.HasPrefix(r.op, http.MethodDelete) {
				aborts++
			}
		}
		if aborts != c.aborts {
			t.Errorf("%d aborts before %s, want %d", aborts, c.key, c.aborts)
		}
	}
}

func TestS3Sweep(t *testing.T) {
	f := newFake(t)
	s := f.open(t, nil)
	other := f.open(t, func(o *store.S3Options) { o.Prefix = "other" })
	abandon(t, f, s, "dir/1")
	abandon(t, f, s, "dir 2/1")
	abandon(t, f, other, "dir/1")
	for _, tt := range []struct {
		prefix     string
		idle       time.Duration
		want, left int
	}{
		{"dir/", 24 * time.Hour, 0, 3},
		{"dir/", -time.Hour, 1, 2}, // a negative time, as none of them can be old
		{"", -time.Hour, 1, 1},
	} {
		n, err := s.Sweep(t.Context(), tt.prefix, tt.idle)
		if err != nil || n != tt.want {
			t.Errorf("sweep %q: %d, %v, want %d", tt.prefix, n, err, tt.want)
		}
		if left := f.uploads(t); left != tt.left {
			t.Errorf("sweep %q: %d uploads left, want %d", tt.prefix, left, tt.left)
		}
	}
}

// TestS3DropUnfinished drops uploads to some keys of a folder, however new they are.
func TestS3DropUnfinished(t *testing.T) {
	f := newFake(t)
	s := f.open(t, nil)
	for _, key := range []string{"dir/1", "dir/2", "dir/not ours", "dir/below/1", "dir 2/1"} {
		abandon(t, f, s, key)
	}
	abandon(t, f, f.open(t, func(o *store.S3Options) { o.Prefix = "other" }), "dir/1")
	drop := func() (int, error) {
		return s.DropUnfinished(t.Context(), store.Query{Prefix: "dir/", Shallow: true}, func(key string) bool { return key != "dir/not ours" })
	}
	for _, want := range []int{2, 0} {
		if n, err := drop(); n != want || err != nil {
			t.Errorf("dropped are %d, %v, want %d", n, err, want)
		}
	}
	if left := f.uploads(t); left != 4 {
		t.Errorf("%d uploads are left, want 4", left)
	}
	f.place(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { answer(w, 403, "AccessDenied", "no") })
	if _, err := drop(); !errors.Is(err, store.ErrDenied) {
		t.Errorf("without the right to list them: %v", err)
	}
	f.place(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { answer(w, 501, "NotImplemented", "no") })
	if n, err := drop(); n != 0 || err != nil {
		t.Errorf("where the server cannot list them: %d, %v", n, err)
	}
	f.place(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { answer(w, 404, "NoSuchUpload", "no") })
	if n, err := drop(); n != 0 || err != nil {
		t.Errorf("where the server says that there is none: %d, %v", n, err)
	}
}

// Create sweeps, in its own folder, before its first upload in parts.
func TestS3CreateSweeps(t *testing.T) {
	f := newFake(t)
	abandon(t, f, f.open(t, nil), "dir/1")
	abandon(t, f, f.open(t, nil), "elsewhere/1")
	s := f.open(t, func(o *store.S3Options) { o.SweepAfter = time.Minute })
	// To what sweeps the clock shows two minutes more, so that the uploads are old. The SDK signs
	// by the server's clock once it differs by four.
	f.place(func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		w.Header().Set("Date", time.Now().Add(2*time.Minute).UTC().Format(http.TimeFormat))
		real.ServeHTTP(w, r)
	})
	storetest.Put(t, s, "dir/2", storetest.Bytes(storetest.Chunk+1))
	if n := f.uploads(t); n != 1 {
		t.Errorf("%d uploads left, want the one elsewhere", n)
	}
}

// listing answers every list request with the keys, whatever is asked.
func listing(truncated bool, keys ...string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		fmt.Fprintf(w, `<ListBucketResult><IsTruncated>%t</IsTruncated>`, truncated)
		for _, key := range keys {
			fmt.Fprintf(w, `<Contents><Key>some/prefix/%s</Key><Size>1</Size><ETag>"e"</ETag><LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents>`, key)
		}
		io.WriteString(w, `</ListBucketResult>`)
	}
}

func TestS3ListIgnoringServer(t *testing.T) {
	f := newFake(t)
	s := f.open(t, nil)
	f.place(listing(false, "a", "b", "b/c", "c", "d+e%20f", "x/y"))
	for _, tt := range []struct {
		q    store.Query
		want string
	}{
		{store.Query{}, "a b b/c c d+e%20f x/y"},
		{store.Query{After: "b"}, "b/c c d+e%20f x/y"},
		{store.Query{Shallow: true}, "a b c d+e%20f"},
		{store.Query{Prefix: "b"}, "b b/c"},
	} {
		if got := strings.Join(storetest.Keys(t, s, tt.q), " "); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.q, got, tt.want)
		}
	}
}

func TestS3ListBroken(t *testing.T) {
	f := newFake(t)
	s := f.open(t, nil)
	for name, broken := range map[string]struct {
		front func(http.ResponseWriter, *http.Request, http.Handler)
		want  string
	}{
		"unordered": {listing(false, "a", "c", "b"), `lists "some/prefix/b" after "some/prefix/c", which is not in order`},
		"repeated":  {listing(false, "a", "a"), `lists "some/prefix/a" after "some/prefix/a", which is not in order`},
		"no token":  {listing(true, "a"), `there is more after "some/prefix/a" but not how to get it`},
	} {
		f.place(broken.front)
		if err := storetest.ListError(t, s, store.Query{}); !strings.Contains(err.Error(), broken.want) {
			t.Errorf("%s: %v, want that the server %s", name, err, broken.want)
		}
	}
}

// TestS3OpenAsksOnce opens what only a key is known of: one request, whatever the range, unless there is nothing in it.
func TestS3OpenAsksOnce(t *testing.T) {
	f := newFake(t)
	s := f.open(t, nil)
	data := storetest.Bytes(1000)
	storetest.Put(t, s, "key", data)
	var ops []string
	f.place(func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		ops = append(ops, r.Method)
		real.ServeHTTP(w, r)
	})
	for _, c := range []struct {
		off, n int64
		want   []byte
		ops    string
	}{
		{0, -1, data, "GET"}, {0, 10, data[:10], "GET"}, {990, -1, data[990:], "GET"}, {999, 1, data[999:], "GET"},
		{990, 100, data[990:], "GET"}, {5, math.MaxInt64, data[5:], "GET"}, {1000, 1, nil, "GET HEAD HEAD"}, {7, 0, nil, "HEAD HEAD"},
	} {
		ops = nil
		if got := storetest.Get(t, s, store.Object{Key: "key"}, c.off, c.n); !bytes.Equal(got, c.want) {
			t.Errorf("%d bytes from %d on: got %d bytes", c.n, c.off, len(got))
		}
		if got := strings.Join(ops, " "); got != c.ops {
			t.Errorf("%d bytes from %d on: %s, want %s", c.n, c.off, got, c.ops)
		}
	}
}
