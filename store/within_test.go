package store_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/litestash/litestash/store"
)

func TestWithin(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("AWS_CA_BUNDLE", "")
	t.Setenv("AWS_ENDPOINT_URL", "")
	t.Setenv("AWS_ENDPOINT_URL_S3", "")
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "a", "b"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		inner, outer string
		want         bool
	}{
		{"s3://b/p", "s3://b/p", true},
		{"s3://b/p?region=eu-west-1", "s3://b/p", true},
		{"s3://b/p/q", "s3://b/p", true},
		{"s3://b/p/q", "s3://b", true},
		{"s3://b", "s3://b", true},
		{"s3://b", "s3://b/p", false},
		{"s3://b/pq", "s3://b/p", false},
		{"s3://b/p", "s3://c/p", false},
		{"s3://b/p?endpoint=https://one.example", "s3://b/p", false},
		{"s3://b/p?endpoint=https://one.example", "s3://b?endpoint=https://two.example", false},
		{"s3://b/p?endpoint=https://one.example", "s3://b?endpoint=https://one.example", true},
		{"s3://b/p", dir, false},
		{dir, "s3://b/p", false},
		{dir, dir, true},
		{dir + "/a", dir, true},
		{dir, dir + "/a", false},
		{dir + "/a/b/new/newer", dir + "/a", true},
		{dir + "/ab", dir + "/a", false},
		{dir + "/link", dir + "/a", true},
		{dir + "/link/new", dir + "/a", true},
		{dir + "/a/b", dir + "/link", true},
		{dir + "/missing", dir + "/missing", true},
		{dir + "/a", dir + "/missing", false},
	} {
		inner, err := store.Open(t.Context(), test.inner, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		outer, err := store.Open(t.Context(), test.outer, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := store.Within(inner, outer); got != test.want {
			t.Errorf("%s within %s: %v", test.inner, test.outer, got)
		}
	}
}
