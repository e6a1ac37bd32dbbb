package rp

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

	"github.com/gatehouse-dev/gatehouse/internal/clientauth"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/retryafter"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

const (
	// CallTimeout bounds one call to the provider, other than a refresh.
	CallTimeout = 5 * time.Second
	// ConnectTimeout bounds an attempt to connect to the provider.
	ConnectTimeout = 5 * time.Second
	// maxResponse bounds a response of the provider, in bytes.
	maxResponse = 1 << 20
)

// An Error is a response of the provider other than success (RFC 6749 §5.2).
type Error struct {
	Status int    // HTTP
	Code   string // "error", "" if it is missing or not fit for a log
	// Description and Suberror (Microsoft Entra) are for the log, without the
	// credentials that were sent.
	Description, Suberror string
	RetryAfter            time.Duration // 0 for no Retry-After
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Code == "" {
		fmt.Fprintf(&b, "the provider answered with status %d", e.Status)
	} else {
		fmt.Fprintf(&b, "the provider answered %s (status %d)", e.Code, e.Status)
	}
	if e.Suberror != "" {
		fmt.Fprintf(&b, ", suberror %s", e.Suberror)
	}
	if e.Description != "" {
		fmt.Fprintf(&b, ": %q", e.Description)
	}
	return b.String()
}

// refusesClient reports whether the client or its credential is refused, whatever the
// grant. Keycloak answers unauthorized_client with status 401 to a wrong secret; with
// another status that code is about the grant.
func (e *Error) refusesClient() bool {
	return e.Code == "invalid_client" || e.Status == http.StatusUnauthorized && (e.Code == "" || e.Code == "unauthorized_client")
}

// Refused returns the last response of the provider if it refused the client, nil if it
// did not. Browsers cannot cause it.
func (p *Party) Refused() *Error { return p.refused.Load() }

// A NoResponse is a call without a complete response.
type NoResponse struct {
	Sent bool // a part of the request may have reached the provider
	Err  error
}

func (e *NoResponse) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *NoResponse) Unwrap() error { return e.Err }

// measure records the duration of a request to the provider, which began at start.
func (p *Party) measure(ctx context.Context, start time.Time, request string, err error) {
	result := metrics.ProviderOK
	if err != nil {
		result = resultOf(err)
	}
	p.cfg.Requests.Since(ctx, start, request, result)
}

// resultOf returns the result of a request that has failed, in metrics.
func resultOf(err error) string {
	refusal, ok := errors.AsType[*Error](err)
	if !ok {
		if _, ok := errors.AsType[*NoResponse](err); ok {
			return metrics.ProviderNoResponse
		}
		return metrics.ProviderError // a response that cannot be used
	}
	switch refusal.Code {
	case "invalid_client", "unauthorized_client":
		return metrics.ProviderClient
	case "invalid_grant":
		return metrics.ProviderGrant
	}
	if refusal.Code == "" || refusal.Status == http.StatusRequestTimeout || refusal.Status == http.StatusTooManyRequests || refusal.Status >= 500 {
		return metrics.ProviderError
	}
	return metrics.ProviderRefused
}

var errNotConnected = fmt.Errorf("no connection within %v", ConnectTimeout)

// post makes an authenticated request.
func (p *Party) post(ctx context.Context, md *oidc.Metadata, endpoint string, form url.Values) ([]byte, error) {
	return p.postWithin(ctx, CallTimeout, md, endpoint, form)
}

func (p *Party) postWithin(ctx context.Context, limit time.Duration, md *oidc.Metadata, endpoint string, form url.Values) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	client := p.Client()
	req, err := client.Request(ctx, md, endpoint, form)
	if err != nil {
		return nil, &NoResponse{false, err}
	}
	resp, err := p.do(req)
	refusal, refused := errors.AsType[*Error](err)
	switch {
	case err == nil:
		p.refused.Store(nil)
	case refused:
		refusal.Description = clientauth.WithoutCredentials(refusal.Description, form, client.Secret, req.Header)
		if refusal.refusesClient() {
			p.refused.Store(refusal)
		}
	}
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// do makes a request, and returns a successful response. Its errors are an
// *Error or a *NoResponse.
func (p *Party) do(req *http.Request) (*Response, error) {
	resp, err := p.exchange(req)
	switch {
	case err != nil:
		return nil, err
	case len(resp.Body) > maxResponse:
		return nil, fmt.Errorf("%s: the response is longer than %d bytes: %w", req.URL.Host, maxResponse, &Error{Status: resp.Status})
	}
	if refusal := errorIn(resp, p.cfg.Now()); refusal != nil {
		return nil, refusal
	}
	return resp, nil
}

// A Response is a response of the provider with any status.
type Response struct {
	Status int
	Header http.Header
	Body   []byte // at most 1 MiB of it, and one byte more if it is longer
}

// exchange makes a request. Its error is a *NoResponse.
func (p *Party) exchange(req *http.Request) (*Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	defer cancel(nil)
	// A transport without traces may have sent everything.
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
			connecting.Store(time.AfterFunc(ConnectTimeout, func() { cancel(errNotConnected) }))
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
		return &NoResponse{sent.Load() || !traced.Load(), fmt.Errorf("%s: %w", req.URL.Host, err)}
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, failed(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	if err != nil {
		return nil, failed(err)
	}
	return &Response{resp.StatusCode, resp.Header, body}, nil
}

// Post makes a request to an endpoint, authenticated as client.
func (p *Party) Post(ctx context.Context, client *clientauth.Client, md *oidc.Metadata, endpoint string, form url.Values) (*Response, error) {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	req, err := client.Request(ctx, md, endpoint, form)
	if err != nil {
		return nil, err
	}
	return p.exchange(req)
}

// Get requests a page, as a browser would.
func (p *Party) Get(ctx context.Context, address string) (*Response, error) {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/html")
	return p.exchange(req)
}

// errorIn returns the error in a response, nil for success. Some providers
// respond to a refused request with status 200.
func errorIn(resp *Response, now time.Time) *Error {
	var response struct {
		Error       any `json:"error"`
		Description any `json:"error_description"`
		Suberror    any `json:"suberror"`
	}
	_ = json.Unmarshal(resp.Body, &response) // a body of another form has no code
	code, _ := response.Error.(string)
	if code == "" && resp.Status >= 200 && resp.Status < 300 {
		return nil
	}
	description, _ := response.Description.(string)
	suberror, _ := response.Suberror.(string)
	return &Error{
		Status:      resp.Status,
		Code:        clientauth.ErrorCode(code),
		Description: description,
		Suberror:    clientauth.ErrorCode(suberror),
		RetryAfter:  retryafter.Parse(resp.Header, now),
	}
}
