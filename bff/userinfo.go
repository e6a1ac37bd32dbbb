package bff

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

	"github.com/gatehouse-dev/gatehouse/oidc"
)

// userinfo asks for the claims that the ID token left out (OpenID Connect
// Core section 5.3). A signed answer is verified; whether it is about the
// person of the ID token is for the caller to see.
func (rp *relyingParty) userinfo(ctx context.Context, md *oidc.Metadata, accessToken string) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, providerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, md.UserinfoEndpoint, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+accessToken)
	req.Header.Set("Accept", "application/json, application/jwt")
	body, contentType, err := rp.typed(req)
	if refusal, ok := errors.AsType[*oauthError](err); ok {
		refusal.description = without(refusal.description, url.Values{"token": {accessToken}}, "")
	}
	if err != nil {
		return nil, err
	}
	// A client that is registered with userinfo_signed_response_alg gets a
	// signed answer, one with userinfo_encrypted_response_alg an encrypted one.
	if kind, _, _ := mime.ParseMediaType(contentType); kind == "application/jwt" {
		raw := string(bytes.TrimSpace(body))
		if strings.Count(raw, ".") == 4 {
			return nil, errors.New("userinfo: the answer is encrypted, which is not supported: turn userinfo encryption off for this client at the provider")
		}
		signed, err := rp.userinfos.Verify(ctx, raw)
		if err != nil {
			return nil, fmt.Errorf("userinfo: signed answer: %w", err)
		}
		return signed.Map(), nil
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var claims map[string]any
	if err := decoder.Decode(&claims); err != nil {
		return nil, errors.New("userinfo: the answer is no JSON object")
	}
	return claims, nil
}
