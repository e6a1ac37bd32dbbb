package bff

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/gatehouse-dev/gatehouse/internal/retryafter"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

const (
	// providerTimeout ends one call of the provider, other than a refresh.
	providerTimeout = 5 * time.Second
	// connectTimeout ends an attempt to connect to the provider.
	connectTimeout = 5 * time.Second
	// maxProviderBytes bounds an answer of the provider.
	maxProviderBytes = 1 << 20
	// maxDescription bounds an error description in a log, in bytes.
	maxDescription = 256
)

// An oauthError is an answer of the provider that is none of success (RFC 6749
// section 5.2).
type oauthError struct {
	status int    // HTTP
	code   string // error, "" for none that can be read
	// description and suberror (Microsoft Entra) are for the log, with what was
	// sent taken out.
	description, suberror string
	retryAfter            time.Duration // 0 for no Retry-After
}

func (e *oauthError) Error() string {
	var b strings.Builder
	if e.code == "" {
		fmt.Fprintf(&b, "the provider answered with status %d", e.status)
	} else {
		fmt.Fprintf(&b, "the provider answered %s (status %d)", e.code, e.status)
	}
	if e.suberror != "" {
		fmt.Fprintf(&b, ", suberror %s", e.suberror)
	}
	if e.description != "" {
		fmt.Fprintf(&b, ": %q", e.description)
	}
	return b.String()
}

// A noAnswer is a call to which no complete answer came.
type noAnswer struct {
	sent bool // something of the request may have reached the provider
	err  error
}

func (e *noAnswer) Error() string { return e.err.Error() }

func (e *noAnswer) Unwrap() error { return e.err }

var errNotConnected = fmt.Errorf("no connection within %v", connectTimeout)

// post makes an authenticated request. The way of authentication is decided
// beforehand: trying one after the other would spend a code or a refresh
// token twice (oauth2-proxy #1473).
func (rp *relyingParty) post(ctx context.Context, md *oidc.Metadata, endpoint string, form url.Values) ([]byte, error) {
	return rp.postWithin(ctx, providerTimeout, md, endpoint, form)
}

func (rp *relyingParty) postWithin(ctx context.Context, limit time.Duration, md *oidc.Metadata, endpoint string, form url.Values) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	basic, err := rp.authenticate(md, form)
	if err != nil {
		return nil, &noAnswer{false, err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, &noAnswer{false, err}
	}
	req.GetBody = nil // so that no transport sends a one-time credential twice
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if basic { // form-encoded first, RFC 6749 section 2.3.1
		req.SetBasicAuth(url.QueryEscape(rp.cfg.Client.ID), url.QueryEscape(rp.cfg.Client.Secret))
	}
	body, err := rp.do(req)
	if refusal, ok := errors.AsType[*oauthError](err); ok {
		refusal.description = without(refusal.description, form, rp.cfg.Client.Secret)
	}
	return body, err
}

// do makes a request. Its errors are an *oauthError or a *noAnswer.
func (rp *relyingParty) do(req *http.Request) ([]byte, error) {
	body, _, err := rp.typed(req)
	return body, err
}

// typed is do for an answer whose Content-Type matters.
func (rp *relyingParty) typed(req *http.Request) (body []byte, contentType string, err error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	defer cancel(nil)
	// A transport that tells nothing may have sent everything.
	var traced, sent atomic.Bool
	var connecting atomic.Pointer[time.Timer]
	stop := func() {
		if timer := connecting.Load(); timer != nil {
			timer.Stop()
		}
	}
	defer stop()
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			traced.Store(true)
			connecting.Store(time.AfterFunc(connectTimeout, func() { cancel(errNotConnected) }))
		},
		GotConn:      func(httptrace.GotConnInfo) { stop() },
		WroteHeaders: func() { sent.Store(true) },
		WroteRequest: func(httptrace.WroteRequestInfo) { sent.Store(true) },
	}))
	failed := func(err error) error {
		// The URL in a *url.Error can hold what must not be logged.
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		if cause := context.Cause(ctx); cause == errNotConnected {
			err = cause
		}
		return &noAnswer{sent.Load() || !traced.Load(), fmt.Errorf("%s: %w", req.URL.Host, err)}
	}
	resp, err := rp.http.Do(req)
	if err != nil {
		return nil, "", failed(err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxProviderBytes+1))
	switch {
	case err != nil:
		return nil, "", failed(err)
	case len(body) > maxProviderBytes:
		return nil, "", fmt.Errorf("%s: the answer is longer than %d bytes: %w", req.URL.Host, maxProviderBytes, &oauthError{status: resp.StatusCode})
	}
	if refusal := refusalIn(resp, body, rp.cfg.Now()); refusal != nil {
		return nil, "", refusal
	}
	return body, resp.Header.Get("Content-Type"), nil
}

// refusalIn returns the error in an answer, nil for success. Some providers
// answer a refusal with status 200.
func refusalIn(resp *http.Response, body []byte, now time.Time) *oauthError {
	var answer struct {
		Error       any `json:"error"`
		Description any `json:"error_description"`
		Suberror    any `json:"suberror"`
	}
	_ = json.Unmarshal(body, &answer) // an answer in another shape has no code
	code, _ := answer.Error.(string)
	success := resp.StatusCode >= 200 && resp.StatusCode < 300
	if code == "" && success {
		return nil
	}
	description, _ := answer.Description.(string)
	suberror, _ := answer.Suberror.(string)
	return &oauthError{
		status:      resp.StatusCode,
		code:        errorCode(code),
		description: description,
		suberror:    errorCode(suberror),
		retryAfter:  retryafter.Parse(resp.Header, now),
	}
}

// without returns a description that is fit for logs: [printable], and without
// the credentials that were sent and that a provider may repeat.
func without(description string, sent url.Values, secret string) string {
	hidden := []string{secret, url.QueryEscape(secret)}
	for _, name := range []string{"code", "code_verifier", "refresh_token", "token", "client_secret", "client_assertion"} {
		hidden = append(hidden, sent.Get(name), url.QueryEscape(sent.Get(name)))
	}
	for _, value := range hidden {
		if value != "" {
			description = strings.ReplaceAll(description, value, "…")
		}
	}
	return printable(description)
}

// printable returns an error_description that is fit for logs: printable
// characters, 256 bytes at most.
func printable(description string) string {
	description = strings.Map(func(c rune) rune {
		if c == unicode.ReplacementChar || !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, description[:min(len(description), 4*maxDescription)])
	if len(description) > maxDescription {
		description = strings.ToValidUTF8(description[:maxDescription], "") + "…"
	}
	return description
}

// errorCode returns an error code that is fit for logs and pages, "" for
// anything that is none.
func errorCode(code string) string {
	if len(code) > 64 || strings.ContainsFunc(code, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.')
	}) {
		return ""
	}
	return code
}
