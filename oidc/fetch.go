package oidc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/retryafter"
)

const (
	callTimeout  = 5 * time.Second
	maxBody      = 1 << 20 // bytes; the largest key sets in use have some 20 kB
	maxRedirects = 3
)

// response is a whole answer, its body within maxBody.
type response struct {
	status int
	header http.Header
	body   []byte
}

// newClient makes the client that all calls go through: that of the configuration, with our own redirect rule.
// With internal, all calls go to one internal URL, those after a redirect too.
func newClient(base *http.Client, internal bool) *http.Client {
	var c http.Client
	if base != nil {
		c = *base
	} else {
		c.Transport = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
			TLSHandshakeTimeout:    3 * time.Second,
			ResponseHeaderTimeout:  callTimeout,
			IdleConnTimeout:        90 * time.Second,
			MaxIdleConns:           4,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
		}
	}
	theirs := c.CheckRedirect
	c.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		if !internal {
			if via[len(via)-1].URL.Scheme == "https" && r.URL.Scheme != "https" {
				return errors.New("redirect from https to http refused")
			}
			if err := checkURL(r.URL); err != nil {
				return fmt.Errorf("redirect refused: %w", err)
			}
		}
		if theirs != nil {
			return theirs(r, via)
		}
		return nil
	}
	return &c
}

// get fetches a JSON document. Nothing of the answer gets into an error but its status and type.
func (p *Provider) get(ctx context.Context, url string, header http.Header) (*response, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, fmt.Errorf("no answer within %v", callTimeout))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		r.Header[name] = values
	}
	r.Header.Set("Accept", "application/json")
	res, err := p.client.Do(r)
	if err != nil {
		return nil, plain(ctx, err)
	}
	defer res.Body.Close()
	out := &response{status: res.StatusCode, header: res.Header}
	if res.StatusCode == http.StatusNotModified && r.Header.Get("If-None-Match") != "" {
		return out, nil
	}
	if res.StatusCode != http.StatusOK {
		return nil, &statusError{url, res.StatusCode, retryafter.Parse(res.Header, time.Now())}
	}
	// One byte more than allowed is read, to tell an endless body from one that just fits.
	out.body, err = io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", url, plain(ctx, err))
	}
	if len(out.body) > maxBody {
		return nil, fmt.Errorf("GET %s: the answer is longer than %d bytes", url, maxBody)
	}
	// Login pages and error pages of proxies come with 200 (threats: HTML with 200). The type is not relied on, since
	// providers send keys as text/plain, but it explains the failure.
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if strings.Contains(kind, "html") {
		return nil, fmt.Errorf("GET %s: the answer is %s, not JSON", url, kind)
	}
	return out, nil
}

// A statusError is an answer with another status than 200.
type statusError struct {
	url        string
	status     int
	retryAfter time.Duration // 0 when the answer does not say
}

func (e *statusError) Error() string { return fmt.Sprintf("GET %s: status %d", e.url, e.status) }

// plain replaces "context deadline exceeded" by what happened.
func plain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}
