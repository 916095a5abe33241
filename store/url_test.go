package store_test

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

var s3URLs = []struct {
	url  string
	want store.S3Options
}{
	{"s3://bucket", store.S3Options{Bucket: "bucket"}},
	{"s3://bucket/", store.S3Options{Bucket: "bucket"}},
	{"s3://bucket/a/b/", store.S3Options{Bucket: "bucket", Prefix: "a/b"}},
	{"s3://bucket/a%20b/%C3%BC", store.S3Options{Bucket: "bucket", Prefix: "a b/ü"}},
	{"s3://b?region=eu-west-1&endpoint=https://host:9000&profile=p", store.S3Options{
		Bucket: "b", Region: "eu-west-1", Endpoint: "https://host:9000", Profile: "p"}},
	{"s3://b?path-style=false&part-size=16MiB&concurrency=8", store.S3Options{
		Bucket: "b", PathStyle: new(false), PartSize: 16 << 20, Concurrency: 8}},
	{"s3://b?part-size=16MB", store.S3Options{Bucket: "b", PartSize: 16e6}},
	{"s3://b?part-size=16m", store.S3Options{Bucket: "b", PartSize: 16e6}},
	{"s3://b?part-size=5242880&storage-class=STANDARD_IA", store.S3Options{
		Bucket: "b", PartSize: 5 << 20, StorageClass: "STANDARD_IA"}},
	{"s3://b?sse=aws:kms&sse-kms-key-id=arn:aws:kms:k&checksum=supported&create-only=off", store.S3Options{
		Bucket: "b", SSE: "aws:kms", KMSKeyID: "arn:aws:kms:k", Checksum: "supported", NoCreateOnly: true}},
	{"s3://b?sse=AES256&checksum=required&create-only=auto", store.S3Options{
		Bucket: "b", SSE: "AES256", Checksum: "required"}},
}

var badURLs = []struct{ url, names string }{
	{"", "no store"},
	{"s3://", "bucket"},
	{"s3:bucket", "s3://"},
	{"s3:///prefix", "bucket"},
	{"s3://bucket:9000", "port"},
	{"s3://bucket/a//b", "prefix"},
	{"s3://bucket/../b", "prefix"},
	{"s3://bucket/a#b", "%23"},
	{"s3://bucket?nosuch=1", "nosuch"},
	{"s3://bucket?region=", "region"},
	{"s3://bucket?region=a&region=b", "region"},
	{"s3://bucket?path-style=maybe", "path-style"},
	{"s3://bucket?part-size=1MiB", "part size"},
	{"s3://bucket?part-size=5MB", "part size of 5000000 bytes: must be from 5 MiB, which are 5242880, to 5 GiB"},
	{"s3://bucket?part-size=0", "part-size"},
	{"s3://bucket?part-size=6GiB", "part size"},
	{"s3://bucket?part-size=9999999999999999GiB", "part-size"},
	{"s3://bucket?part-size=12XB", "part-size"},
	{"s3://bucket?part-size=-5MiB", "part-size"},
	{"s3://bucket?concurrency=0", "concurrency"},
	{"s3://bucket?concurrency=many", "concurrency"},
	{"s3://bucket?sse=yes", "encryption"},
	{"s3://bucket?sse-kms-key-id=k", "KMS"},
	{"s3://bucket?checksum=no", "checksum"},
	{"s3://bucket?create-only=no", "create-only"},
	{"s3://bucket?endpoint=host:9000", "endpoint"},
	{"s3://bucket?a;b", "key=value"},
	{"s3://hunter2@bucket", "password"},
	{"s3://AKID:hunter2@bucket/x", "password"},
	{"s3://bucket?endpoint=https://AKID:hunter2@host", "password"},
	{"s3://bucket?secret-access-key=hunter2", "secret"},
	{"s3://bucket?aws_access_key_id=hunter2", "secret"},
	{"s3://bucket?session-token=hunter2", "secret"},
	{"gs://bucket", "gs"},
	{"https://AKID:hunter2@host/x", "https"},
	{"file:relative", "file:///"},
	{"file://host/path", "three slashes"},
	{"file:///path?x=1", "settings"},
	{"file://", "path"},
}

func TestParseS3(t *testing.T) {
	for _, tt := range s3URLs {
		got, err := store.ParseS3(tt.url)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\n%+v, %v\nwant %+v", tt.url, got, err, tt.want)
		}
	}
}

func TestOpenBadURL(t *testing.T) {
	for _, tt := range badURLs {
		_, err := store.Open(t.Context(), tt.url, store.Options{})
		var usage *store.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), tt.names) {
			t.Errorf("%q: %v, want a %T that says %q", tt.url, err, usage, tt.names)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error shows the secret: %v", tt.url, err)
		}
	}
}

func TestOpenDirURL(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]string{
		"file://" + dir + "/a%20b":      filepath.Join(dir, "a b"),
		"file://localhost" + dir + "/a": filepath.Join(dir, "a"),
		dir + "/a b?c#d":                filepath.Join(dir, "a b?c#d"),
		"relative/path":                 filepath.Join(here, "relative/path"),
		".":                             here,
		"s3/bucket":                     filepath.Join(here, "s3/bucket"),
		"odd:name":                      filepath.Join(here, "odd:name"),
	} {
		s, err := store.Open(t.Context(), raw, store.Options{})
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if got := s.(*store.Dir).String(); got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
}

func TestS3String(t *testing.T) {
	storetest.CleanEnv(t)
	t.Setenv("AWS_ACCESS_KEY_ID", testKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", testSecret)
	for _, tt := range []struct{ raw, want string }{
		{"s3://bucket/a%20b?endpoint=https%3A%2F%2Fhost%3A9000&path-style=true&region=r1",
			"s3://bucket/a%20b?endpoint=https://host:9000&path-style=true&region=r1"},
		{"s3://bucket?region=r&endpoint=http://[::1]:9000", "s3://bucket?endpoint=http://[::1]:9000&region=r"},
		{"s3://bucket?region=a%26b%3D%23%2B%20%253A", "s3://bucket?region=a%26b%3D%23%2B+%253A"},
	} {
		s, err := store.Open(t.Context(), tt.raw, store.Options{})
		if err != nil {
			t.Errorf("%s: %v", tt.raw, err)
			continue
		}
		got := s.(*store.S3).String()
		if got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
		want, err := store.ParseS3(tt.raw)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := store.ParseS3(got); err != nil || !reflect.DeepEqual(again, want) {
			t.Errorf("%s means %+v, %v, want %+v", got, again, err, want)
		}
	}
}

// Whatever is parsed has a bucket and a prefix that make a URL with the same meaning.
func FuzzParseS3(f *testing.F) {
	if len(s3URLs) == 0 || len(badURLs) == 0 {
		f.Fatal("no seeds")
	}
	for _, tt := range s3URLs {
		f.Add(tt.url)
	}
	for _, tt := range badURLs {
		f.Add(tt.url)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		o, err := store.ParseS3(raw)
		var usage *store.UsageError
		if err != nil {
			if !errors.As(err, &usage) {
				t.Fatalf("%q: %v is no %T", raw, err, usage)
			}
			return
		}
		if o.Bucket == "" || strings.HasPrefix(o.Prefix, "/") || strings.HasSuffix(o.Prefix, "/") {
			t.Fatalf("%q: %+v", raw, o)
		}
		in, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		again := url.URL{Scheme: "s3", Host: o.Bucket, Path: "/" + o.Prefix, RawQuery: in.RawQuery}
		got, err := store.ParseS3(again.String())
		if err != nil || !reflect.DeepEqual(got, o) {
			t.Fatalf("%q as %q: %+v, %v, want %+v", raw, again.String(), got, err, o)
		}
	})
}
