package rp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/clientauth"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// Userinfo requests claims from the userinfo endpoint (OpenID Connect Core
// §5.3). It verifies a signed response. The caller must compare the subject with
// that of the ID token.
func (p *Party) Userinfo(ctx context.Context, md *oidc.Metadata, accessToken string) (_ map[string]any, err error) {
	defer func(start time.Time) { p.measure(ctx, start, metrics.RequestUserinfo, err) }(time.Now())
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, md.UserinfoEndpoint, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+accessToken)
	req.Header.Set("Accept", "application/json, application/jwt")
	resp, err := p.do(req)
	if refusal, ok := errors.AsType[*Error](err); ok {
		refusal.Description = clientauth.WithoutCredentials(refusal.Description, url.Values{"token": {accessToken}}, "", nil)
	}
	if err != nil {
		return nil, err
	}
	// A client that is registered with userinfo_signed_response_alg gets a
	// signed response, one with userinfo_encrypted_response_alg an encrypted one.
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == "application/jwt" {
		raw := string(bytes.TrimSpace(resp.Body))
		if strings.Count(raw, ".") == 4 {
			return nil, errors.New("userinfo: the response is encrypted, which is not supported: turn userinfo encryption off for this client at the provider")
		}
		signed, err := p.userinfos.Verify(ctx, raw)
		if err != nil {
			return nil, fmt.Errorf("userinfo: signed response: %w", err)
		}
		return signed.Map(), nil
	}
	decoder := json.NewDecoder(bytes.NewReader(resp.Body))
	decoder.UseNumber()
	var claims map[string]any
	if err := decoder.Decode(&claims); err != nil {
		return nil, errors.New("userinfo: the response is no JSON object")
	}
	return claims, nil
}
