package store_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/litestash/litestash/store"
)

// settings answers requests for a bucket's settings, and leaves the others to the server.
func settings(setting string, reply func(w http.ResponseWriter)) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		if r.URL.Query().Has(setting) {
			reply(w)
			return
		}
		real.ServeHTTP(w, r)
	}
}

func document(body string) func(w http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/xml")
		w.Write([]byte(body))
	}
}

func refusal(status int, code string) func(w http.ResponseWriter) {
	return func(w http.ResponseWriter) { answer(w, status, code, "no") }
}

func TestLifecycle(t *testing.T) {
	f := newFake(t)
	s := f.open(t, nil) // its names begin with some/prefix/
	f.place(settings("lifecycle", document(`<LifecycleConfiguration>
		<Rule><ID>all</ID><Status>Enabled</Status><Filter></Filter><Expiration><Days>30</Days></Expiration></Rule>
		<Rule><ID>old form</ID><Status>Enabled</Status><Prefix>some/</Prefix><Expiration><Date>2027-01-02T00:00:00Z</Date></Expiration></Rule>
		<Rule><ID>one database</ID><Status>Enabled</Status><Filter><Prefix>some/prefix/app.db/</Prefix></Filter><Transition><Days>1</Days><StorageClass>STANDARD_IA</StorageClass></Transition><Transition><Days>2</Days><StorageClass>DEEP_ARCHIVE</StorageClass></Transition></Rule>
		<Rule><ID>large ones</ID><Status>Enabled</Status><Filter><And><Prefix>some/prefix</Prefix><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan></And></Filter><NoncurrentVersionExpiration><NoncurrentDays>3</NoncurrentDays></NoncurrentVersionExpiration></Rule>
		<Rule><ID>off</ID><Status>Disabled</Status><Filter></Filter><Expiration><Days>1</Days></Expiration></Rule>
		<Rule><ID>elsewhere</ID><Status>Enabled</Status><Filter><Prefix>some/prefix2</Prefix></Filter><Expiration><Days>1</Days></Expiration></Rule>
		<Rule><ID>tagged</ID><Status>Enabled</Status><Filter><Tag><Key>a</Key><Value>b</Value></Tag></Filter><Expiration><Days>1</Days></Expiration></Rule>
		<Rule><ID>tagged and more</ID><Status>Enabled</Status><Filter><And><Prefix>some</Prefix><Tag><Key>a</Key><Value>b</Value></Tag></And></Filter><Expiration><Days>1</Days></Expiration></Rule>
		<Rule><ID>uploads</ID><Status>Enabled</Status><Filter></Filter><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>
		<Rule><ID>markers</ID><Status>Enabled</Status><Filter></Filter><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration></Rule>
	</LifecycleConfiguration>`)))
	got, err := s.Lifecycle(t.Context())
	want := []store.LifecycleRule{
		{ID: "all", Expires: true, Days: 30},
		{ID: "old form", Prefix: "some/", Expires: true, Date: time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC)},
		{ID: "one database", Prefix: "some/prefix/app.db/", Archives: "DEEP_ARCHIVE"},
		{ID: "large ones", Prefix: "some/prefix", ExpiresOld: true},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
}

func TestLifecycleRefused(t *testing.T) {
	f := newFake(t)
	s := f.open(t, nil)
	for _, test := range []struct {
		status int
		code   string
		want   error // nil: there are no rules
	}{
		{http.StatusNotFound, "NoSuchLifecycleConfiguration", nil},
		{http.StatusNotImplemented, "NotImplemented", nil},
		{http.StatusForbidden, "AccessDenied", store.ErrDenied},
		{http.StatusNotFound, "NoSuchBucket", store.ErrNoBucket},
	} {
		f.place(settings("lifecycle", refusal(test.status, test.code)))
		if rules, err := s.Lifecycle(t.Context()); !errors.Is(err, test.want) || len(rules) > 0 {
			t.Errorf("%s: %+v, %v", test.code, rules, err)
		}
		f.place(settings("versioning", refusal(test.status, test.code)))
		if kept, err := s.Versioned(t.Context()); !errors.Is(err, test.want) || kept {
			t.Errorf("%s: %v, %v", test.code, kept, err)
		}
	}
}

func TestVersioned(t *testing.T) {
	f := newFake(t)
	s := f.open(t, nil)
	for body, want := range map[string]bool{
		`<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`:   true,
		`<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>`: false,
		`<VersioningConfiguration/>`: false,
	} {
		f.place(settings("versioning", document(body)))
		if got, err := s.Versioned(t.Context()); err != nil || got != want {
			t.Errorf("%s: %v, %v", body, got, err)
		}
	}
}

func TestCreateOnly(t *testing.T) {
	f := newFake(t)
	for _, test := range []struct {
		front  func(http.ResponseWriter, *http.Request, http.Handler)
		change func(*store.S3Options)
		want   bool
	}{
		{nil, nil, true},
		{refuseCreateOnly, nil, false},
		{nil, func(o *store.S3Options) { o.NoCreateOnly = true }, false},
	} {
		f.place(test.front)
		s := f.open(t, test.change)
		key := "a" + rand.Text()
		if _, err := s.Create(t.Context(), key, strings.NewReader("x"), 1); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Create(t.Context(), key, strings.NewReader("x"), 1); !errors.Is(err, fs.ErrExist) {
			t.Errorf("a second Create: %v", err)
		}
		if got := s.CreateOnly(); got != test.want {
			t.Errorf("%v, want %v", got, test.want)
		}
	}
}

// Servers that know rules tell those that were made; the others say that there are none.
func TestRealLifecycle(t *testing.T) {
	onRealServers(t, func(t *testing.T, u url.URL) {
		s := openReal(t, u).(*store.S3)
		if rules, err := s.Lifecycle(t.Context()); err != nil || len(rules) > 0 {
			t.Errorf("at first: %+v, %v", rules, err)
		}
		if kept, err := s.Versioned(t.Context()); err != nil || kept {
			t.Errorf("versions: %v, %v", kept, err)
		}
		if !addRule(t, &u) {
			return
		}
		want := []store.LifecycleRule{{ID: "test", Expires: true, Days: 3650}}
		if rules, err := s.Lifecycle(t.Context()); err != nil || !reflect.DeepEqual(rules, want) {
			t.Errorf("then: %+v, %v", rules, err)
		}
	})
}

// addRule gives the bucket of u a rule for the length of the test, if the server knows rules and
// the bucket has none, which would be lost.
func addRule(t *testing.T, u *url.URL) bool {
	t.Helper()
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("us-east-1"))
	if err != nil {
		t.Fatal(err)
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		if e := u.Query().Get("endpoint"); e != "" {
			o.BaseEndpoint, o.UsePathStyle = &e, true
		}
	})
	old, err := client.GetBucketLifecycleConfiguration(t.Context(), &s3.GetBucketLifecycleConfigurationInput{Bucket: &u.Host})
	if err == nil && len(old.Rules) > 0 {
		if os.Getenv("LITESTASH_TEST_REQUIRE_SERVERS") == "1" {
			t.Fatal("the bucket has rules of its own")
		}
		t.Skip("the bucket has rules of its own")
	}
	_, err = client.PutBucketLifecycleConfiguration(t.Context(), &s3.PutBucketLifecycleConfigurationInput{
		Bucket: &u.Host,
		LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{{
			ID:         aws.String("test"),
			Status:     types.ExpirationStatusEnabled,
			Filter:     &types.LifecycleRuleFilter{Prefix: aws.String("")},
			Expiration: &types.LifecycleExpiration{Days: aws.Int32(3650)},
		}}},
	})
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() == "NotImplemented" {
		t.Log("the server knows no rules")
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test's own context has ended.
		_, err := client.DeleteBucketLifecycle(context.Background(), &s3.DeleteBucketLifecycleInput{Bucket: &u.Host})
		if err != nil {
			t.Errorf("remove the rule: %v", err)
		}
	})
	return true
}
