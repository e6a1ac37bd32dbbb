package oidc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/clockskew"
	"github.com/gatehouse-dev/gatehouse/internal/retryafter"
	"github.com/gatehouse-dev/gatehouse/internal/textfile"
)

const (
	callTimeout  = 5 * time.Second
	maxBody      = 1 << 20 // bytes; the largest known key sets have about 20 kB
	maxRedirects = 3
)

// A response is a complete HTTP response with a body of at most maxBody.
type response struct {
	status int
	header http.Header
	body   []byte
}

// newClient returns the client for all requests: base, if there is one, with our
// rules for redirects. With an internal URL, all requests go there, also after a
// redirect. A nil trust is the default configuration of TLS.
func (p *Provider) newClient(base *http.Client, trust *tls.Config) *http.Client {
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
			TLSClientConfig:        trust,
		}
	}
	next := c.CheckRedirect
	c.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		if p.internal == nil {
			if via[len(via)-1].URL.Scheme == "https" && r.URL.Scheme != "https" {
				return errors.New("redirect from https to http refused")
			}
			if err := checkURL(r.URL); err != nil {
				return fmt.Errorf("redirect refused: %w", err)
			}
		}
		if !p.trusted(r.URL) { // net/http drops it at other hosts, and not at other ports and subdomains
			r.Header.Del("Authorization")
		}
		if next != nil {
			return next(r, via)
		}
		return nil
	}
	return &c
}

// get fetches a JSON document. Its errors contain nothing of the response but
// status and media type.
func (p *Provider) get(ctx context.Context, url string, header http.Header) (*response, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, fmt.Errorf("no response within %v", callTimeout))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(r.Header, header)
	r.Header.Set("Accept", "application/json")
	if p.files != nil {
		p.files.Check(ctx)
	}
	if err := p.authorize(r); err != nil {
		return nil, err
	}
	sent := p.now()
	res, err := p.client.Do(r)
	if err != nil {
		return nil, plain(ctx, err)
	}
	defer res.Body.Close()
	if ahead, known := clockskew.Of(res.Header, sent, p.now()); known {
		p.skew.Store(&ahead)
	}
	out := &response{status: res.StatusCode, header: res.Header}
	if res.StatusCode == http.StatusNotModified && r.Header.Get("If-None-Match") != "" {
		return out, nil
	}
	if res.StatusCode != http.StatusOK {
		return nil, &statusError{url, res.StatusCode, retryafter.Parse(res.Header, time.Now())}
	}
	// One byte more tells a body that is too long from one that just fits.
	out.body, err = io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", url, plain(ctx, err))
	}
	if len(out.body) > maxBody {
		return nil, fmt.Errorf("GET %s: the response is longer than %d bytes", url, maxBody)
	}
	// Proxies send login and error pages with status 200. Some providers send keys
	// as text/plain, so other types are not refused.
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if strings.Contains(kind, "html") {
		return nil, fmt.Errorf("GET %s: the response is %s, not JSON", url, kind)
	}
	return out, nil
}

// trusted reports whether the bearer token may be sent to a URL.
func (p *Provider) trusted(u *url.URL) bool {
	return p.internal != nil || slices.Contains(p.hosts, u.Host)
}

// authorize adds the bearer token to a request to an address of the configuration.
func (p *Provider) authorize(r *http.Request) error {
	if p.bearerFile == "" || !p.trusted(r.URL) {
		return nil
	}
	content, err := textfile.Regular(p.bearerFile)
	token := strings.TrimSpace(string(content))
	if err == nil && (token == "" || strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c >= 0x7f })) {
		err = errors.New("has no token, or more than one; give a file with the token alone")
	}
	if err != nil {
		return fmt.Errorf("bearer token file %s: %w", p.bearerFile, err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return nil
}

// A statusError is a response with a status other than 200.
type statusError struct {
	url        string
	status     int
	retryAfter time.Duration // of Retry-After; 0 without one
}

func (e *statusError) Error() string { return fmt.Sprintf("GET %s: status %d", e.url, e.status) }

// plain adds the cause of a cancelled context, such as our timeout.
func plain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}
