package devidp_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
)

// press submits a form of the home page.
func (b *browser) press(path string, fields ...string) answer {
	b.s.t.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return b.submit(b.s.issuer+"/controls/"+path, form, "Sec-Fetch-Site", "same-origin")
}

// TestPanel: the forms of the home page do what the HTTP API does, and the page shows
// what is in effect.
func TestPanel(t *testing.T) {
	t.Parallel()
	calls := newLogoutCalls(t)
	s := start(t, func(c *devidp.Config) { c.Clients[0].BackchannelLogoutURI = calls.url })
	b := s.browser()
	token := s.signIn(b, "seller")
	home := func(want ...string) {
		t.Helper()
		page := b.open(s.issuer + "/")
		for _, text := range want {
			if page.status != http.StatusOK || !strings.Contains(page.body, text) {
				t.Errorf("the page (%d) lacks %q:\n%s", page.status, text, page.body)
			}
		}
	}
	home(`value="5m"`, `value="1h"`, `value="720h"`, `<option value="rotate" selected>`, `One key is published`, `<option value="seller">Sofia Marchetti (seller)`)

	got := b.press("state", "access_token_lifetime", " 20s ", "id_token_lifetime", "", "refresh_tokens", "keep")
	if got.status != http.StatusOK || got.url.Path != "/" || got.url.Fragment != "controls" {
		t.Errorf("led to %s (%d)", got.url, got.status)
	}
	home(`value="20s"`, `value="1h"`, `<option value="keep" selected>`)
	// All fields of the form are sent, as by a browser.
	b.press("fail", "user", "seller", "times", "", "error", "interaction_required", "delay", "20s", "kind", "refuse-refresh")
	b.press("fail", "user", "", "times", "3", "error", "interaction_required", "delay", "20s", "kind", "down")
	const refused = "refreshes are refused with interaction_required and status 400, for seller"
	home(refused, "every request gets status 503, 3 more times", "This provider was told to fail")
	b.press("heal", "kind", "down", "user", "")
	if faults := s.provider.Faults(); len(faults) != 1 || faults[0].User != "seller" || faults[0].Error != "interaction_required" || faults[0].Delay != 0 {
		t.Errorf("faults %+v", faults)
	}
	// The banner is on every page, and leads back to the sign-in page.
	signIn := b.open(s.attempt(s.oauth(), "prompt", "login").url)
	if !strings.Contains(signIn.body, refused) {
		t.Error("the sign-in page lacks the banner")
	}
	after := b.submit(s.issuer+"/controls/reset", url.Values{}, "Sec-Fetch-Site", "same-origin", "Referer", signIn.url.String())
	if after.url.String() != signIn.url.String() || strings.Contains(after.body, "told to fail") || len(s.provider.Faults()) != 0 {
		t.Errorf("after the reset: %s\n%s", after.url, after.body)
	}
	for _, referer := range []string{"https://evil.example/", "https://evil.example/elsewhere", s.issuer + "/", "://", ""} {
		if got := b.submit(s.issuer+"/controls/reset", url.Values{}, "Sec-Fetch-Site", "same-origin", "Referer", referer); got.url.Path != "/" || got.to != nil {
			t.Errorf("from %q to %s", referer, got.url)
		}
	}
	b.press("keys/rotate")
	home("2 keys are published")
	b.press("keys/withdraw")
	home("One key is published")
	b.press("revoke", "user", "seller")
	if _, err := s.refresh(token.RefreshToken); err == nil {
		t.Error("the refresh token works")
	}
	b.press("logout", "user", "")
	if b.signedIn() || len(calls.tokens) != 1 {
		t.Errorf("signed in: %t, %d notified", b.signedIn(), len(calls.tokens))
	}
}

// TestPanelRefuses: a wrong field is named, and forms of other sites have no effect.
func TestPanelRefuses(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	for name, tt := range map[string]struct {
		got    answer
		status int
		says   string
	}{
		"a lifetime":       {b.press("state", "access_token_lifetime", "5 minutes"), 400, `access_token_lifetime &#34;5 minutes&#34; is not what belongs here; give a duration`},
		"a number":         {b.press("fail", "kind", "down", "times", "many"), 400, `times &#34;many&#34; is not what belongs here; give a whole number`},
		"no kind":          {b.press("fail"), 400, "kind is missing"},
		"an error":         {b.press("fail", "kind", "refuse-refresh", "error", "<b>"), 400, "&lt;b&gt;"},
		"an unknown form":  {b.press("elsewhere"), 404, "no such page"},
		"not a form":       {b.press("token", "user", "seller"), 404, "no such page"},
		"another site":     {b.submit(s.issuer+"/controls/fail", url.Values{"kind": {"down"}}, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"), 403, "another site"},
		"the same site":    {b.submit(s.issuer+"/controls/fail", url.Values{"kind": {"down"}}, "Origin", "http://127.0.0.1:3000", "Sec-Fetch-Site", "same-site"), 403, "another site"},
		"an old browser":   {b.submit(s.issuer+"/controls/fail", url.Values{"kind": {"down"}}, "Origin", "https://evil.example"), 403, "another site"},
		"a link":           {b.open(s.issuer + "/controls/fail?kind=down"), 404, "no such page"},
		"fields in a link": {b.submit(s.issuer+"/controls/fail?kind=down", url.Values{}, "Sec-Fetch-Site", "same-origin"), 400, "kind is missing"},
	} {
		if tt.got.status != tt.status || !strings.Contains(tt.got.body, tt.says) {
			t.Errorf("%s: %d, want %d and %q:\n%s", name, tt.got.status, tt.status, tt.says, tt.got.body)
		}
	}
	if faults := s.provider.Faults(); len(faults) != 0 {
		t.Errorf("had an effect: %v", faults)
	}
}

// TestPanelIsAccessible: every field has a label, ids are unique, and the names of
// buttons differ.
func TestPanelIsAccessible(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.fail(devidp.Fault{Kind: devidp.Down, User: "buyer"})
	s.fail(devidp.Fault{Kind: devidp.LoseRefresh})
	body := s.browser().open(s.issuer + "/").body
	var ids []string
	for _, m := range regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(body, -1) {
		if slices.Contains(ids, m[1]) {
			t.Errorf("id %s is given twice", m[1])
		}
		ids = append(ids, m[1])
	}
	for _, m := range regexp.MustCompile(`<(?:input|select)[^>]*>`).FindAllString(body, -1) {
		id := regexp.MustCompile(` id="([^"]+)"`).FindStringSubmatch(m)
		if !strings.Contains(m, `type="hidden"`) && (id == nil || !strings.Contains(body, `<label for="`+id[1]+`">`)) {
			t.Errorf("%s has no label", m)
		}
	}
	tags := regexp.MustCompile(`<[^>]+>`)
	var names []string
	for _, m := range regexp.MustCompile(`(?s)<button[^>]*>(.*?)</button>`).FindAllStringSubmatch(body, -1) {
		name := tags.ReplaceAllString(m[1], "")
		if slices.Contains(names, name) {
			t.Errorf("two buttons are named %q", name)
		}
		names = append(names, name)
	}
	if len(names) < 14 {
		t.Errorf("%d buttons: %q", len(names), names)
	}
}
