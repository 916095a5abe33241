// Package ping tells a service that watches over jobs, as healthchecks.io does, how one went: a request when
// it starts, one when it has ended well, one with its exit code when it has not. If none comes the service
// raises the alarm.
package ping

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// A Service is where to send pings to. Its address is a secret: no error tells it, nor does formatting the
// Service. It may be used concurrently.
type Service struct {
	url    *url.URL
	client *http.Client
}

const (
	// attempts is how often a ping is tried, since one that is lost is a false alarm.
	attempts    = 3
	attemptTime = 3 * time.Second
	pause       = 500 * time.Millisecond
)

// Load reads the address of a service from a file. caBundle is a file of certificates of authorities that are
// trusted beside the system's; empty is none.
func Load(file, caBundle string) (*Service, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(strings.TrimSpace(string(text)))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" { // err tells the address
		return nil, fmt.Errorf("%s does not hold an address that begins with https:// or http://", file)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if caBundle != "" {
		pool, err := withBundle(caBundle)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return &Service{u, &http.Client{Transport: transport, Timeout: attemptTime}}, nil
}

func withBundle(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // as on a system that has none
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return pool, nil
}

// String hides the address.
func (s *Service) String() string { return "(a ping service)" }

// Start tells that a job starts.
func (s *Service) Start(ctx context.Context) error { return s.ping(ctx, "start") }

// End tells that a job has ended with an exit code, of which 0 is well. A job that goes on may end any number
// of times.
func (s *Service) End(ctx context.Context, code int) error {
	if code == 0 {
		return s.ping(ctx, "")
	}
	return s.ping(ctx, strconv.Itoa(code))
}

// ping asks for the address, continued by what there is to tell.
func (s *Service) ping(ctx context.Context, what string) error {
	u := *s.url
	if what != "" {
		u = *u.JoinPath(what)
	}
	var err error
	for i := range attempts {
		if i > 0 {
			select {
			case <-ctx.Done():
				return err
			case <-time.After(pause):
			}
		}
		var again bool
		if again, err = s.get(ctx, u.String()); !again {
			return err
		}
	}
	return err
}

// get sends one request, and reports whether another may do better.
func (s *Service) get(ctx context.Context, address string) (again bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return false, errors.New("the address cannot be used") // err tells it
	}
	request.Header.Set("User-Agent", "litestash")
	response, err := s.client.Do(request)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the address
		}
		return ctx.Err() == nil, err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)); err != nil {
		return ctx.Err() == nil, err
	}
	if response.StatusCode/100 != 2 {
		return response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests,
			fmt.Errorf("the service answers %s", response.Status)
	}
	return false, nil
}
