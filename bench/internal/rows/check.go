//go:build linux

package rows

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/gatehouse-dev/gatehouse/bench/internal/load"
)

// Requests returns the bytes of the GET for each of n connections, with further header lines.
func (t *Target) Requests(n int, headers ...string) ([][]byte, error) {
	if t.Credentials != nil && len(t.Credentials) != n {
		return nil, fmt.Errorf("%d credentials for %d connections", len(t.Credentials), n)
	}
	requests := make([][]byte, n)
	for i := range requests {
		credential := ""
		if t.Credentials != nil {
			credential = t.Credentials[i]
		}
		requests[i] = t.request(credential, headers...)
	}
	return requests, nil
}

func (t *Target) request(credential string, headers ...string) []byte {
	return load.Request(cmp.Or(t.Path, load.Path), cmp.Or(t.Host, t.Address), append(headers, credential)...)
}

var lastButTwo = regexp.MustCompile(`[^;](..(?:;|$))`)

// Check fails if a row answers a request with no credential, or with a forged one: its figures would
// be those of no authentication.
func (r *Row) Check(ctx context.Context, t *Target) error {
	if r.Credential == None || r.Open {
		return nil
	}
	if len(t.Credentials) == 0 {
		return fmt.Errorf("%s: no credentials", r.Name)
	}
	// Without the last character but two of the token, which is in its signature, or of each cookie.
	forged := lastButTwo.ReplaceAllString(t.Credentials[0], "$1")
	for what, credential := range map[string]string{"no credential": "", "a forged " + string(r.Credential): forged} {
		status, err := t.status(ctx, credential)
		if err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
		if status == http.StatusOK {
			return fmt.Errorf("%s answers 200 to a request with %s", r.Name, what)
		}
	}
	return nil
}

// status sends one request, and returns the status of the response, redirects included.
func (t *Target) status(ctx context.Context, credential string) (int, error) {
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(t.request(credential))))
	if err != nil {
		return 0, err
	}
	req.RequestURI = ""
	req.URL.Scheme, req.URL.Host = "http", t.Address
	client := &http.Client{
		Timeout:       30 * time.Second,
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req.WithContext(ctx))
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}
