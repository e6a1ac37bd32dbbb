package devidp_test

import (
	"net/url"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
)

const orders = "https://orders.example.com"

// A relying party gets tokens for other audiences by refresh, exchange and client credentials, if
// there are some, and none for unknown ones.
func TestOtherAudiences(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *devidp.Config) { c.Audiences = []string{orders} })
	token := s.signIn(s.browser(), "seller", "openid", "offline_access")
	const grant, kind = "urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:token-type:access_token"
	exchange := url.Values{"grant_type": {grant}, "subject_token": {token.AccessToken}, "subject_token_type": {kind}, "requested_token_type": {kind}}
	forms := map[string]url.Values{
		"exchange": exchange,
		"client":   {"grant_type": {"client_credentials"}, "scope": {"stock:read"}},
	}
	for name, form := range forms {
		for target, want := range map[string]string{orders: "", "https://unknown.example": "invalid_target"} {
			form.Set("audience", target)
			form.Set("resource", target)
			status, body := s.post("/oauth/token", form)
			code, _ := body["error"].(string)
			if code != want || (want == "") != (status == 200) {
				t.Errorf("%s for %s: status %d, error %q, want %q", name, target, status, code, want)
			}
			if want != "" {
				continue
			}
			_, claims := s.verify(body["access_token"].(string))
			if claims["aud"].([]any)[0] != target || (claims["sub"] == clientID) != (name == "client") || body["refresh_token"] != nil || body["id_token"] != nil {
				t.Errorf("%s: claims %v", name, claims)
			}
			if name == "exchange" && body["issued_token_type"] != kind {
				t.Errorf("issued_token_type %v", body["issued_token_type"])
			}
		}
	}
	for name, change := range map[string]func(url.Values){
		"another type":    func(f url.Values) { f.Set("subject_token_type", "urn:ietf:params:oauth:token-type:jwt") },
		"a refresh token": func(f url.Values) { f.Set("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token") },
		"unknown":         func(f url.Values) { f.Set("subject_token", "unknown") },
		"missing":         func(f url.Values) { f.Del("subject_token") },
	} {
		form := url.Values{}
		for name, values := range exchange {
			form[name] = values
		}
		form.Set("audience", orders)
		form.Del("resource")
		change(form)
		if _, body := s.post("/oauth/token", form); body["error"] != "invalid_request" {
			t.Errorf("%s: %v, want invalid_request", name, body["error"])
		}
	}
	status, body := s.post("/oauth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token.RefreshToken}, "audience": {orders}})
	if status != 200 {
		t.Fatalf("refresh: %v", body)
	}
	if _, claims := s.verify(body["access_token"].(string)); claims["aud"].([]any)[0] != orders {
		t.Errorf("refresh: aud %v", claims["aud"])
	}
	// The client has no token of its own for the API, where machines have theirs.
	if _, body := s.post("/oauth/token", url.Values{"grant_type": {"client_credentials"}}); body["error"] != "unauthorized_client" {
		t.Errorf("client credentials for the API: %v", body["error"])
	}
}
