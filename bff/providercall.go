package bff

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/token"
)

const (
	// providerTimeout ends one call of the provider.
	providerTimeout = 5 * time.Second
	// connectTimeout ends an attempt to connect to the provider for a refresh,
	// which is a part of no other limit.
	connectTimeout = 5 * time.Second
	// maxProviderBytes bounds an answer of the provider.
	maxProviderBytes = 1 << 20
)

// An oauthError is a refusal by the provider (RFC 6749 section 5.2).
type oauthError struct {
	status int
	code   string
}

func (e *oauthError) Error() string {
	if e.code == "" {
		return fmt.Sprintf("the provider answered with status %d", e.status)
	}
	return fmt.Sprintf("the provider answered %s (status %d)", e.code, e.status)
}

// post makes an authenticated request. The way of authentication is decided
// beforehand: trying one after the other would spend a code or a refresh
// token twice (oauth2-proxy #1473).
func (rp *relyingParty) post(ctx context.Context, md *token.Metadata, endpoint string, form url.Values) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, providerTimeout)
	defer cancel()
	basic, err := rp.authenticate(md, form)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.GetBody = nil // so that no transport sends a one-time credential twice
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if basic { // form-encoded first, RFC 6749 section 2.3.1
		req.SetBasicAuth(url.QueryEscape(rp.cfg.ClientID), url.QueryEscape(rp.cfg.ClientSecret))
	}
	return rp.do(req)
}

func (rp *relyingParty) do(req *http.Request) ([]byte, error) {
	resp, err := rp.http.Do(req)
	if err != nil {
		// The URL in a *url.Error can hold what must not be logged.
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProviderBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", req.URL.Host, err)
	case len(body) > maxProviderBytes:
		return nil, fmt.Errorf("%s: the answer is longer than %d bytes", req.URL.Host, maxProviderBytes)
	case resp.StatusCode < 200 || resp.StatusCode >= 300:
		var answer struct {
			Error string `json:"error"`
		}
		_ = json.Unmarshal(body, &answer) // an answer in another shape has no code
		return nil, &oauthError{status: resp.StatusCode, code: errorCode(answer.Error)}
	}
	return body, nil
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
