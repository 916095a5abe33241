package store

import (
	"context"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/litestash/litestash/internal/human"
)

// Options for [Open]. The zero value works.
type Options struct {
	Logger       *slog.Logger  // gets each request to a server at debug level; nil discards
	StallTimeout time.Duration // how long a request may stand still; default 30 seconds
	TempDir      string        // where parts of uploads go that are too large for memory; default [os.TempDir]

	// AllowNew lets a directory that does not exist yet look like an empty store, if its parent
	// does: for those who are about to make it with the first Create. For all others that is
	// [ErrNoBucket].
	AllowNew bool
}

// Open returns the store that a URL names:
//
//	s3://bucket/prefix?region=eu-central-1      in a bucket, see below
//	file:///backups/store, /backups/store, ./s  in a directory
//
// The query of an S3 URL may hold endpoint, region, profile, path-style (true, false), part-size
// (bytes, or a size such as 16MB or 16MiB), concurrency, storage-class, sse (AES256, aws:kms),
// sse-kms-key-id, checksum (required, supported) and create-only (auto, off); [S3Options] tells
// what they mean. Secrets have no place in it: they come from where the AWS tools look for them.
//
// What is wrong with the URL is a [UsageError].
func Open(ctx context.Context, rawURL string, opts Options) (Store, error) {
	if !strings.HasPrefix(rawURL, "s3:") {
		path, err := dirPath(rawURL)
		if err != nil {
			return nil, err
		}
		d, err := OpenDir(path)
		if err != nil {
			return nil, err
		}
		d.allowNew = opts.AllowNew
		return d, nil
	}
	s3opts, err := ParseS3(rawURL)
	if err != nil {
		return nil, err
	}
	s3opts.Logger = opts.Logger
	s3opts.StallTimeout = opts.StallTimeout
	s3opts.TempDir = opts.TempDir
	s, err := OpenS3(ctx, s3opts)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// dirPath returns the path in a URL that names a directory.
func dirPath(rawURL string) (string, error) {
	scheme, _, found := strings.Cut(rawURL, "://")
	switch {
	case rawURL == "":
		return "", usagef("no store is given")
	case !found && strings.HasPrefix(rawURL, "file:"):
		return "", usagef("store %q: write file:///path or just the path", rawURL)
	case !found:
		return rawURL, nil
	case scheme != "file":
		return "", usagef("store %q: %s is not known; a store is an s3:// URL or a directory", hideUser(rawURL), scheme)
	}
	u, err := url.Parse(rawURL)
	switch {
	case err != nil:
		return "", usagef("store %q: not a URL", rawURL)
	case u.Host != "" && u.Host != "localhost" || u.User != nil:
		return "", usagef("store %q: a directory of this host has three slashes, file:///path", hideUser(rawURL))
	case u.RawQuery != "" || u.Fragment != "":
		return "", usagef("store %q: a directory has no settings; write %%3F for ? and %%23 for # in its name", rawURL)
	case u.Path == "":
		return "", usagef("store %q: the path is missing", rawURL)
	}
	return filepath.FromSlash(u.Path), nil
}

// ParseS3 returns the options in an s3:// URL. What is wrong with it is a [UsageError].
func ParseS3(rawURL string) (S3Options, error) {
	var o S3Options
	shown := hideUser(rawURL)
	u, err := url.Parse(rawURL)
	switch {
	case err != nil || u.Scheme != "s3" || u.Opaque != "":
		return o, usagef("store %q: not a URL of the form s3://bucket/prefix", shown)
	case u.User != nil:
		return o, usagef("store %q holds a user name or a password: %s", shown, whereSecretsGo)
	case u.Host == "":
		return o, usagef("store %q names no bucket", shown)
	case strings.Contains(u.Host, ":"):
		return o, usagef("store %q: a bucket has no port; the server goes into ?endpoint=", shown)
	case u.Fragment != "":
		return o, usagef("store %q: write %%23 for # in a prefix", shown)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return o, usagef("store %q: the part after the ? is not of the form key=value&key=value", shown)
	}
	o.Bucket, o.Prefix = u.Host, strings.Trim(u.Path, "/")
	for _, key := range sortedKeys(query) {
		if err := o.set(key, query[key]); err != nil {
			return S3Options{}, err
		}
	}
	check := o // with defaults, which the result does not have
	return o, check.complete()
}

func sortedKeys(query url.Values) []string {
	var keys []string
	for key := range query {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// set takes one setting of a URL.
func (o *S3Options) set(key string, values []string) (err error) {
	value := values[0]
	if len(values) > 1 {
		return usagef("setting %s of the store is given %d times", key, len(values))
	}
	if isSecret(key) {
		return usagef("setting %s of the store would show a secret to everyone on this host: %s", key, whereSecretsGo)
	}
	if value == "" {
		return usagef("setting %s of the store is empty", key)
	}
	switch key {
	case "endpoint":
		o.Endpoint = value
	case "region":
		o.Region = value
	case "profile":
		o.Profile = value
	case "path-style":
		yes, perr := strconv.ParseBool(value)
		o.PathStyle, err = &yes, perr
	case "part-size":
		o.PartSize, err = human.ParseBytes(value)
	case "concurrency":
		o.Concurrency, err = strconv.Atoi(value)
		if err == nil && o.Concurrency == 0 {
			err = strconv.ErrRange
		}
	case "storage-class":
		o.StorageClass = value
	case "sse":
		o.SSE = value
	case "sse-kms-key-id":
		o.KMSKeyID = value
	case "checksum":
		o.Checksum = value
	case "create-only":
		if value != "auto" && value != "off" {
			return usagef("setting create-only=%s of the store: must be auto or off", value)
		}
		o.NoCreateOnly = value == "off"
	default:
		return usagef("setting %s of the store is not known", key)
	}
	if err != nil {
		return usagef("setting %s=%s of the store is not usable", key, value)
	}
	return nil
}

// isSecret says whether a setting's name is one that tools give to keys.
func isSecret(key string) bool {
	key = strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(key))
	for _, word := range []string{"secret", "password", "token", "accesskey", "credential"} {
		if strings.Contains(key, word) {
			return true
		}
	}
	return false
}

// hideUser returns the URL without what may be a secret in it, for an error.
func hideUser(rawURL string) string {
	shown, _, _ := strings.Cut(rawURL, "?")
	scheme, rest, found := strings.Cut(shown, "://")
	if at := strings.LastIndexByte(rest, '@'); found && at >= 0 {
		return scheme + "://..." + rest[at:]
	}
	return shown
}
