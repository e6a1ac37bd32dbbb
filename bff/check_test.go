package bff_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// found returns the results with these statuses, one a line.
func found(s *system, statuses ...bff.CheckStatus) string {
	s.t.Helper()
	var lines strings.Builder
	for _, r := range s.Check(s.t.Context(), nil) {
		if slices.Contains(statuses, r.Status) {
			lines.WriteString(r.Proof + ": " + r.What + "; " + r.Remedy + "\n")
		}
	}
	return lines.String()
}

// The provider's metadata are compared with the configuration before the first
// login. Each mismatch has a remedy.
func TestCheckFindsMismatches(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cfg      func(*bff.Config)
		metadata map[string]any
		change   func(*provider)
		says     []string // nil: no problem
	}{
		"all is well": {},
		"secret, where keys are wanted": {
			metadata: map[string]any{"token_endpoint_auth_methods_supported": []string{"private_key_jwt", "tls_client_auth"}},
			says:     []string{"client_secret_basic, but private_key_jwt, tls_client_auth", "set Client.Key for private_key_jwt"}},
		"only ways that Gatehouse has not": {
			metadata: map[string]any{"token_endpoint_auth_methods_supported": []string{"tls_client_auth", "self_signed_tls_client_auth"}},
			says:     []string{"client_secret_basic, but tls_client_auth", "allow one of client_secret_basic, client_secret_post, private_key_jwt and none for the client there"}},
		"key, where secrets are wanted": {cfg: withKey(clientRSA()), says: []string{"private_key_jwt, but client_secret_basic", "Client.Auth"}},
		"public, where none are": {
			cfg:  func(c *bff.Config) { c.Client.Secret = "" },
			says: []string{"client authentication none", "set Client.Secret"}},
		"a key of the wrong kind": {
			cfg:      withKey(clientEC()),
			metadata: map[string]any{"token_endpoint_auth_methods_supported": []string{"private_key_jwt"}, "token_endpoint_auth_signing_alg_values_supported": []string{"RS256", "PS256"}},
			says:     []string{"Client.Key", "signs with ES256", "supports RS256, PS256", "another kind"}},
		"a key that is not registered": {
			cfg:      withKey(clientRSA()),
			metadata: map[string]any{"token_endpoint_auth_methods_supported": []string{"private_key_jwt"}},
			says:     []string{"invalid_client", "Client.Key", "http://localhost:3000/api/auth/jwks.json", "private_key_jwt"}},
		"a wrong secret": {cfg: func(c *bff.Config) { c.Client.Secret = "another" }, says: []string{"refuses client", "Client.Secret", "client_secret_basic"}},
		"no S256":        {metadata: map[string]any{"code_challenge_methods_supported": []string{"plain"}}, says: []string{"PKCE with S256", "[plain]", "turn it on"}},
		"no code flow":   {metadata: map[string]any{"response_types_supported": []string{"id_token"}}, says: []string{"response type code"}},
		"no RS256":       {metadata: map[string]any{"id_token_signing_alg_values_supported": []string{"ES256"}}, says: []string{"RS256", "[ES256]"}},
		"no form_post": {
			cfg: formPost, metadata: map[string]any{"response_modes_supported": []string{"query", "fragment"}},
			says: []string{"Login.ResponseMode=form_post", "[query fragment]", "unset it"}},
		"form_post, and the list is silent": {cfg: formPost},
		"pushed requests required and turned off": {
			cfg:      func(c *bff.Config) { c.Login.OmitPAR = true },
			metadata: map[string]any{"require_pushed_authorization_requests": true, "pushed_authorization_request_endpoint": issuerURL + "/par"},
			says:     []string{"Login.OmitPAR", "unset"}},
		"a push refused for its audience": {
			metadata: map[string]any{"pushed_authorization_request_endpoint": issuerURL + "/par"},
			change:   func(p *provider) { p.instead["/par"] = refuse(400, "invalid_target") },
			says:     []string{"refuses the audience " + audience, "Login.Audience", "Login.OmitResource"}},
		"a push refused for its scope": {
			metadata: map[string]any{"pushed_authorization_request_endpoint": issuerURL + "/par"},
			change:   func(p *provider) { p.instead["/par"] = refuse(400, "invalid_scope") },
			says:     []string{"invalid_scope", "Login.Scope"}},
		"a push refused": {
			metadata: map[string]any{"pushed_authorization_request_endpoint": issuerURL + "/par"},
			change:   func(p *provider) { p.instead["/par"] = refuse(400, "invalid_request") },
			says:     []string{"invalid_request", "redirect URI http://localhost:3000/api/auth/callback registered", "Login.OmitPAR"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			if c.cfg != nil {
				c.cfg(&s.cfg)
			}
			lay(s.idp.metadata, c.metadata)
			if c.change != nil {
				s.idp.change(c.change)
			}
			s.reconfigure()
			wrong := found(s, bff.CheckWrong)
			if c.says == nil {
				if wrong != "" {
					t.Error(wrong)
				}
				return
			}
			for _, part := range c.says {
				if !strings.Contains(wrong, part) {
					t.Errorf("it does not say %q: %v", part, wrong)
				}
			}
		})
	}
}

// All mismatches are reported at once. Remarks are reported without an alarm.
func TestCheckTellsAll(t *testing.T) {
	t.Parallel()
	s := start(t, formPost)
	lay(s.idp.metadata, map[string]any{
		"code_challenge_methods_supported": []string{"plain"}, "response_modes_supported": []string{"query"}, "token_endpoint_auth_methods_supported": []string{"none"},
	})
	s.reconfigure()
	if wrong := found(s, bff.CheckWrong); strings.Count(wrong, "\n") != 3 {
		t.Error(wrong)
	}
	if calls := len(s.idp.called("/token")); calls != 0 {
		t.Errorf("%d token calls for a configuration that cannot work", calls)
	}

	s = start(t, func(c *bff.Config) { c.Login.Scope = "openid profile orders:read" })
	s.idp.offersPAR()
	lay(s.idp.metadata, map[string]any{"code_challenge_methods_supported": tokentest.Absent, "end_session_endpoint": tokentest.Absent})
	s.reconfigure()
	if wrong := found(s, bff.CheckWrong); wrong != "" {
		t.Fatal(wrong)
	}
	all := found(s, bff.CheckOK, bff.CheckWarn)
	for _, part := range []string{"orders:read; if logins end with invalid_scope", "does not say whether it enforces PKCE", "requests are pushed", "its secret is right (client_secret_basic)", "no refresh token is to be expected", "no end-session endpoint"} {
		if !strings.Contains(all, part) {
			t.Errorf("it does not say %q:\n%s", part, all)
		}
	}
	if strings.Contains(all, "profile;") {
		t.Error("a scope that is listed is called missing")
	}
}
