package store_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/url"
	"os"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

// TestRealServers runs the suite on the stores in LITESTASH_TEST_S3, URLs separated by spaces,
// each time below a new random prefix.
func TestRealServers(t *testing.T) {
	onRealServers(t, func(t *testing.T, u url.URL) {
		run := storetest.Run
		if u.Query().Get("create-only") == "off" {
			run = storetest.RunWithoutRace
		}
		run(t, func(t *testing.T) store.Store { return openReal(t, u) })
	})
}

// Servers have different answers for an access key that they do not know.
func TestRealUnknownUser(t *testing.T) {
	onRealServers(t, func(t *testing.T, u url.URL) {
		t.Setenv("AWS_ACCESS_KEY_ID", "AKIDUNKNOWN")
		s, err := store.Open(t.Context(), u.String(), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := storetest.ListError(t, s, store.Query{}); !errors.Is(err, store.ErrDenied) {
			t.Errorf("list: %v, want %v", err, store.ErrDenied)
		}
		_, err = s.Create(t.Context(), "test-"+rand.Text(), strings.NewReader("x"), 1)
		if !errors.Is(err, store.ErrDenied) {
			t.Errorf("create: %v, want %v", err, store.ErrDenied)
		}
		if err := s.Delete(t.Context(), "test-"+rand.Text()); !errors.Is(err, store.ErrDenied) {
			t.Errorf("delete: %v, want %v", err, store.ErrDenied)
		}
	})
}

// onRealServers runs the test on each store in LITESTASH_TEST_S3.
func onRealServers(t *testing.T, test func(t *testing.T, u url.URL)) {
	t.Helper()
	onServers(t, "LITESTASH_TEST_S3", "on real servers to try those", test)
}

// onServers runs the test on each of the stores that a variable names. Without any it is skipped, unless servers are
// required: what says which they are to be.
func onServers(t *testing.T, variable, what string, test func(t *testing.T, u url.URL)) {
	t.Helper()
	urls := strings.Fields(os.Getenv(variable))
	if len(urls) == 0 {
		if os.Getenv("LITESTASH_TEST_REQUIRE_SERVERS") == "1" {
			t.Fatalf("%s names no store, and LITESTASH_TEST_REQUIRE_SERVERS=1 wants one", variable)
		}
		t.Skipf("%s names no store: set it to the URLs of stores %s", variable, what)
	}
	for _, raw := range urls {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.ReplaceAll(u.Query().Get("endpoint"), "://", "-") // a slash would split it for -run
		t.Run(u.Host+"@"+name, func(t *testing.T) { test(t, *u) })
	}
}

// openReal opens a store of its own for the test, which is emptied at its end.
func openReal(t *testing.T, u url.URL) store.Store {
	t.Helper()
	u.Path = strings.TrimSuffix(u.Path, "/") + "/test-" + rand.Text()
	query := u.Query()
	if !query.Has("part-size") {
		query.Set("part-size", "5MiB")
	}
	u.RawQuery = query.Encode()
	s, err := store.Open(t.Context(), u.String(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { empty(t, s) })
	return s
}

// empty deletes all that is in the store.
func empty(t *testing.T, s store.Store) {
	g, ctx := errgroup.WithContext(context.WithoutCancel(t.Context())) // which has ended by now
	g.SetLimit(16)
	for o, err := range s.List(ctx, store.Query{}) {
		if err != nil {
			t.Errorf("empty the store: %v", err)
			break
		}
		g.Go(func() error { return s.Delete(ctx, o.Key) })
	}
	if err := g.Wait(); err != nil {
		t.Errorf("empty the store: %v", err)
	}
}

// TestRealDropUnfinished drops an upload that goes on: nothing of it is there then, and it does not succeed.
func TestRealDropUnfinished(t *testing.T) {
	onRealServers(t, func(t *testing.T, u url.URL) {
		s := openReal(t, u).(*store.S3)
		body, w := io.Pipe()
		done := make(chan error, 1)
		go func() {
			_, err := s.Create(t.Context(), "dir/key", body, 0)
			body.CloseWithError(err)
			done <- err
		}()
		if _, err := w.Write(storetest.Bytes(2*storetest.Chunk + 1)); err != nil { // when this returns the upload has begun
			t.Fatal(err)
		}
		n, err := s.DropUnfinished(t.Context(), store.Query{Prefix: "dir/", Shallow: true}, func(string) bool { return true })
		if err != nil || n > 1 {
			t.Errorf("dropped are %d, %v", n, err)
		}
		w.Close()
		if err := <-done; (err == nil) != (n == 0) { // MinIO does not list it
			t.Errorf("dropped are %d, and the upload ends with %v", n, err)
		}
		if there := storetest.Keys(t, s, store.Query{}); len(there) != 1-n {
			t.Errorf("dropped are %d, and there is %q", n, there)
		}
		t.Logf("dropped: %d", n)
	})
}
