package store_test

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

// writeConfig makes a shared configuration file the only one.
func writeConfig(t *testing.T, text string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", path)
}

// Whichever way an endpoint is set, what is sent to it must be what every server understands.
func TestS3EndpointRule(t *testing.T) {
	for name, set := range map[string]func(t *testing.T, url string, o *store.S3Options){
		"option": func(t *testing.T, url string, o *store.S3Options) { o.Endpoint = url },
		"env":    func(t *testing.T, url string, _ *store.S3Options) { t.Setenv("AWS_ENDPOINT_URL", url) },
		"env-s3": func(t *testing.T, url string, _ *store.S3Options) { t.Setenv("AWS_ENDPOINT_URL_S3", url) },
		"profile": func(t *testing.T, url string, _ *store.S3Options) {
			writeConfig(t, "[default]\nendpoint_url = "+url+"\n")
		},
		"profile-s3": func(t *testing.T, url string, o *store.S3Options) {
			writeConfig(t, "[profile mine]\nservices = here\n[services here]\ns3 =\n  endpoint_url = "+url+"\n")
			o.Profile = "mine"
			os.Unsetenv("AWS_ACCESS_KEY_ID")
			os.Unsetenv("AWS_SECRET_ACCESS_KEY")
			path := filepath.Join(t.TempDir(), "credentials")
			keys := fmt.Sprintf("[mine]\naws_access_key_id = %s\naws_secret_access_key = %s\n", testKeyID, testSecret)
			if err := os.WriteFile(path, []byte(keys), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", path)
		},
	} {
		for _, tls := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/tls=%t", name, tls), func(t *testing.T) {
				f := newPlainFake(t, tls)
				s := f.open(t, func(o *store.S3Options) {
					o.Endpoint = ""
					set(t, f.url, o)
				})
				small, large := []byte("small"), storetest.Bytes(2*storetest.Chunk+1)
				storetest.Put(t, s, "dir/small", small)
				storetest.Put(t, s, "dir/large", large)
				checkPlain(t, f.forget(), small, large)
			})
		}
	}
}

// checkPlain fails the test unless the requests store the small object and the large one in equal
// parts, with a Content-MD5 each and nothing that only AWS knows.
func checkPlain(t *testing.T, seen []request, small, large []byte) {
	t.Helper()
	var want, got []string
	sum := func(data []byte) {
		md := md5.Sum(data)
		want = append(want, base64.StdEncoding.EncodeToString(md[:]))
	}
	sum(small)
	for piece := range slices.Chunk(large, storetest.Chunk) {
		sum(piece)
	}
	for _, r := range seen {
		if !strings.HasPrefix(r.path, "/bucket") {
			t.Errorf("%s %s: the bucket is not in the path", r.op, r.path)
		}
		if create := r.header.Get("If-None-Match"); create != "*" && (r.op == "PUT" || r.op == "POST+complete") {
			t.Errorf("%s is not create-only", r.op)
		}
		if strings.HasPrefix(r.op, "PUT") {
			got = append(got, r.header.Get("Content-Md5"))
		}
		for name, values := range r.header {
			foreign := strings.HasPrefix(name, "X-Amz-Checksum-") || strings.HasPrefix(name, "X-Amz-Sdk-Checksum") ||
				name == "X-Amz-Trailer" || strings.Contains(strings.Join(values, ","), "aws-chunked")
			if foreign && r.op != "GET+list" {
				t.Errorf("%s has %s: %q", r.op, name, values)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("Content-MD5 %q, want %q", got, want)
	}
}

// rewriteEncoding does what Google's front end does to a request before its signature is checked.
func rewriteEncoding(w http.ResponseWriter, r *http.Request, real http.Handler) {
	r.Header.Set("Accept-Encoding", r.Header.Get("Accept-Encoding")+",gzip(gfe)")
	real.ServeHTTP(w, r)
}

// The fake checks signatures, so whatever is done here is signed right.
func TestS3EncodingIsNotSigned(t *testing.T) {
	for name, set := range map[string]func(t *testing.T, url string, o *store.S3Options){
		"option": func(*testing.T, string, *store.S3Options) {},
		"env": func(t *testing.T, url string, o *store.S3Options) {
			o.Endpoint = ""
			t.Setenv("AWS_ENDPOINT_URL", url)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.place(rewriteEncoding)
			s := f.open(t, func(o *store.S3Options) { set(t, f.url, o) })
			for key, size := range map[string]int{"dir/small": 5, "dir/large": storetest.Chunk + 1} {
				data := storetest.Bytes(size)
				storetest.Put(t, s, key, data)
				mustHold(t, s, key, data)
				if err := s.Delete(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
			f.onFirst(1, "PUT", unavailable) // what is repeated is signed again
			storetest.Put(t, s, "again", nil)
			for _, r := range f.forget() {
				if got := r.header.Get("Accept-Encoding"); got != "identity" {
					t.Errorf("%s: Accept-Encoding is %q, want identity", r.op, got)
				}
				_, signed, found := strings.Cut(r.header.Get("Authorization"), "SignedHeaders=")
				signed, _, _ = strings.Cut(signed, ",")
				if !found || slices.Contains(strings.Split(signed, ";"), "accept-encoding") {
					t.Errorf("%s: signed are %q", r.op, signed)
				}
			}
		})
	}
}

func TestS3ChecksumOverride(t *testing.T) {
	for name, set := range map[string]func(t *testing.T, o *store.S3Options){
		"option": func(_ *testing.T, o *store.S3Options) { o.Checksum = "supported" },
		"env":    func(t *testing.T, _ *store.S3Options) { t.Setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported") },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			s := f.open(t, func(o *store.S3Options) { set(t, o) })
			storetest.Put(t, s, "key", []byte("data"))
			for _, r := range f.forget() {
				if r.op == "PUT" && (r.header.Get("X-Amz-Trailer") == "" || r.header.Get("Content-Md5") != "") {
					t.Errorf("headers %v: want a checksum in the trailer", r.header)
				}
			}
		})
	}
}

// askedOf returns the requests by which a store with some settings tries to create a small object and one in parts. Only
// they count: gofakes3 does not know all that they ask for, so all are refused.
func askedOf(t *testing.T, change func(*store.S3Options)) []request {
	t.Helper()
	f := newFake(t)
	s := f.open(t, change)
	f.place(func(w http.ResponseWriter, r *http.Request, _ http.Handler) { answer(w, 400, "InvalidRequest", "no") })
	for _, size := range []int{1, storetest.Chunk + 1} {
		if _, err := s.Create(t.Context(), "dir/key", bytes.NewReader(storetest.Bytes(size)), 0); err == nil {
			t.Error("no error")
		}
	}
	return f.forget()
}

func TestS3Settings(t *testing.T) {
	begun := 0
	for _, r := range askedOf(t, func(o *store.S3Options) {
		o.StorageClass, o.SSE, o.KMSKeyID, o.Region = "STANDARD_IA", "aws:kms", "my-key", "eu-west-3"
	}) {
		if !strings.Contains(r.header.Get("Authorization"), "/eu-west-3/s3/") {
			t.Errorf("%s is signed for another region: %s", r.op, r.header.Get("Authorization"))
		}
		if r.op != "PUT" && r.op != "POST+begin" {
			continue
		}
		begun++
		for name, want := range map[string]string{
			"X-Amz-Storage-Class":                         "STANDARD_IA",
			"X-Amz-Server-Side-Encryption":                "aws:kms",
			"X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": "my-key",
		} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", r.op, name, got, want)
			}
		}
		if r.header.Get("X-Amz-Meta-Litestash-Create") == "" {
			t.Errorf("%s names no creator", r.op)
		}
	}
	if begun != 2 {
		t.Errorf("%d uploads were begun, want 2", begun)
	}
}

// TestS3ServerKey asks the server to encrypt with a key of its own.
func TestS3ServerKey(t *testing.T) {
	asked := 0
	for _, r := range askedOf(t, func(o *store.S3Options) { o.SSE = "AES256" }) {
		if r.op != "PUT" && r.op != "POST+begin" {
			continue
		}
		asked++
		if got, key := r.header.Get("X-Amz-Server-Side-Encryption"), r.header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"); got != "AES256" || key != "" {
			t.Errorf("%s asks for %q with the key %q", r.op, got, key)
		}
	}
	if asked != 2 {
		t.Errorf("%d uploads were begun, want 2", asked)
	}
}

func TestS3PathStyle(t *testing.T) {
	f := newFake(t)
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	s := f.open(t, func(o *store.S3Options) {
		o.PathStyle = new(false)
		o.Endpoint = strings.Replace(f.url, "127.0.0.1", "localhost", 1)
	})
	// The bucket goes into the name of the host, which nobody has given an address, or a
	// certificate.
	_, err := s.Create(t.Context(), "key", strings.NewReader("x"), 1)
	if !errors.Is(err, store.ErrUnreachable) || !strings.Contains(err.Error(), "bucket.localhost") {
		t.Errorf("create: %v", err)
	}
}

func TestS3NoRegion(t *testing.T) {
	storetest.CleanEnv(t)
	t.Setenv("AWS_ACCESS_KEY_ID", testKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", testSecret)
	_, err := store.OpenS3(t.Context(), store.S3Options{Bucket: "bucket"})
	var usage *store.UsageError
	if !errors.As(err, &usage) {
		t.Errorf("got %v, want a %T", err, usage)
	}
}

func TestS3NoProfile(t *testing.T) {
	storetest.CleanEnv(t)
	_, err := store.OpenS3(t.Context(), store.S3Options{Bucket: "bucket", Region: "eu-west-1", Profile: "nosuch"})
	var usage *store.UsageError
	if !errors.As(err, &usage) || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("got %v, want a %T that names the profile", err, usage)
	}
}

// A metadata service of the first version makes the SDK warn, on the standard error unless told
// otherwise.
func TestS3Logger(t *testing.T) {
	storetest.CleanEnv(t)
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const roles = "/latest/meta-data/iam/security-credentials/"
		switch {
		case r.Method != "GET":
			w.WriteHeader(http.StatusForbidden) // no token: that would be version two
		case r.URL.Path == roles:
			io.WriteString(w, "role")
		case r.URL.Path == roles+"role":
			fmt.Fprintf(w, `{"Code": "Success", "AccessKeyId": %q, "SecretAccessKey": %q, "Token": "t", "Expiration": %q}`,
				testKeyID, testSecret, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer metadata.Close()
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.URL)
	var log bytes.Buffer
	for _, logger := range []*slog.Logger{nil, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))} {
		wrote := standardError(t, func() {
			if _, err := store.OpenS3(t.Context(), store.S3Options{Bucket: "bucket", Region: "eu-west-1", Logger: logger}); err != nil {
				t.Error(err)
			}
		})
		if wrote != "" {
			t.Errorf("on standard error: %s", wrote)
		}
	}
	if !strings.Contains(log.String(), "level=DEBUG") || !strings.Contains(log.String(), "IMDSv1") {
		t.Errorf("logged %q", &log)
	}
}

// standardError returns what f writes to [os.Stderr].
func standardError(t *testing.T, f func()) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	defer func(old *os.File) { os.Stderr = old }(os.Stderr)
	os.Stderr = file
	f()
	wrote, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(wrote)
}
