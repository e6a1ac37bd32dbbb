package devidp_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

func withPolicies(c *devidp.Config) {
	c.Policies = directory.PolicyValues{Permissions: []string{"notes:write", "notes:admin"}, Scopes: []string{"notes:read"}, ACRValues: []string{"mfa"}}
}

// describe submits the form for another user on the sign-in page.
func (b *browser) describe(page answer, form url.Values) answer {
	b.s.t.Helper()
	m := requestField.FindStringSubmatch(page.body)
	if m == nil {
		b.s.t.Fatalf("no sign-in page: %d at %s", page.status, page.url)
	}
	form.Set("request", m[1])
	form.Set("guest", "1")
	return b.submit(b.s.issuer+"/login", form, "Sec-Fetch-Site", "same-origin")
}

// TestGuest: a user who is in no file signs in with the claims of the form, and is the
// same one the next time.
func TestGuest(t *testing.T) {
	t.Parallel()
	s := start(t, withPolicies)
	conf := s.oauth("openid", "profile", "email", "notes:read", "notes:extra")
	signIn := func(form url.Values) (access, id map[string]any) {
		a, b := s.attempt(conf), s.browser()
		code := a.code(t, s, b.describe(b.open(a.url), form))
		_, answer := s.post("/oauth/token", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {a.verifier}})
		_, access = s.verify(answer["access_token"].(string))
		_, id = s.verify(answer["id_token"].(string))
		return access, id
	}
	access, id := signIn(url.Values{
		"name": {"Zoë  Ek "}, "email": {"zoe@notes.test"}, "permissions": {"notes:write"}, "permissions_more": {" a:b, notes:write"},
		"scopes": {"notes:read"}, "scopes_more": {"notes:extra"}, "acr": {"mfa"}, "claims": {` {"org": {"id": 12345678901234567}} `},
	})
	for claim, want := range map[string]string{
		"sub": "dev|zo-ek", "permissions": "[notes:write a:b]", "scope": "openid profile email notes:read notes:extra", "acr": "mfa",
		"org": "map[id:1.2345678901234568e+16]",
	} {
		if got := fmt.Sprint(access[claim]); got != want {
			t.Errorf("%s of the access token is %s, want %s", claim, got, want)
		}
	}
	if id["name"] != "Zoë  Ek" || id["email"] != "zoe@notes.test" {
		t.Errorf("ID token %v", id)
	}
	if again, _ := signIn(url.Values{"name": {"Zoë Ek"}}); again["sub"] != "dev|zo-ek" || fmt.Sprint(again["permissions"]) != "[]" {
		t.Errorf("the second time: %v", again)
	}
	for name, subject := range map[string]string{"": "dev|guest", "Seller": "dev|guest-seller", "山田": "dev|guest-5f34cd83"} {
		if access, _ := signIn(url.Values{"name": {name}}); access["sub"] != subject {
			t.Errorf("subject of %q is %s, want %s", name, access["sub"], subject)
		}
	}
	if page := s.browser().open(s.attempt(conf).url); !strings.Contains(page.body, `name="user" value="zo-ek"`) {
		t.Error("the guest is not on the sign-in page")
	}
}

// TestGuestProblems: an error is beside its field, the input is kept, and the sign-in
// can go on.
func TestGuestProblems(t *testing.T) {
	t.Parallel()
	s := start(t, withPolicies)
	for name, c := range map[string]struct {
		form        url.Values
		field, says string
	}{
		"address":       {url.Values{"email": {"<b>"}}, "email", "E-mail &#34;&lt;b&gt;&#34; is not an address; write one such as guest@example.com, or none."},
		"taken address": {url.Values{"email": {"SOFIA@example.com"}}, "email", "E-mail is that of user &#34;seller&#34; too; give each user a different one."},
		"taken subject": {url.Values{"subject": {"dev|seller"}}, "subject", "Subject is that of user &#34;seller&#34; too;"},
		"scope":         {url.Values{"scopes_more": {`a"b`}}, "scopes", "Scopes &#34;a\\&#34;b&#34; has characters"},
		"acr":           {url.Values{"acr": {`a\b`}}, "acr", "ACR &#34;a\\\\b&#34; has characters"},
		"no object":     {url.Values{"claims": {`["a"]`}}, "claims", "More claims are not a JSON object; write one"},
		"two errors":    {url.Values{"email": {"x"}, "claims": {"1"}}, "email", "E-mail &#34;x&#34; is not an address"},
		"null":          {url.Values{"claims": {`null`}}, "claims", "More claims are not a JSON object"},
		"two objects":   {url.Values{"claims": {`{} {}`}}, "claims", "More claims are not a JSON object"},
		"broken":        {url.Values{"claims": {`{"a": `}}, "claims", "More claims are not a JSON object"},
		"reserved":      {url.Values{"claims": {`{"iss": "x"}`}}, "claims", "More claims cannot have iss, which the provider sets; leave it out."},
		"name":          {url.Values{"name": {strings.Repeat("x", 513)}}, "name", "Name has 513 bytes; write at most 512."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := s.browser()
			page := b.open(s.attempt(s.oauth()).url)
			if strings.Contains(page.body, "<details class=\"card guest\" open") {
				t.Error("the form is open from the beginning")
			}
			c.form["permissions"] = []string{"notes:admin"}
			got := b.describe(page, c.form)
			if got.status != http.StatusUnprocessableEntity {
				t.Fatalf("status %d at %s", got.status, got.url)
			}
			for _, want := range []string{
				`<details class="card guest" open>`, `id="guest-` + c.field + `-error">` + c.says,
				`guest-` + c.field + `-error" aria-invalid="true" autofocus`, `value="notes:admin" checked`,
			} {
				if strings.Count(got.body, want) != 1 {
					t.Errorf("%s is not there once", want)
				}
			}
			if t.Failed() {
				t.Log(got.body)
			}
			request := requestField.FindStringSubmatch(got.body)
			if done := b.submit(s.issuer+"/login", url.Values{"request": {request[1]}, "user": {"buyer"}}); done.to == nil {
				t.Errorf("the sign-in does not go on: %d", done.status)
			}
		})
	}
}

// TestGuestOfHint: an address in login_hint that no user has is in the form.
func TestGuestOfHint(t *testing.T) {
	t.Parallel()
	s := start(t)
	page := s.browser().open(s.attempt(s.oauth(), "login_hint", "zoe@notes.test").url)
	if !strings.Contains(page.body, `name="email" value="zoe@notes.test"`) || !strings.Contains(page.body, `guest" open>`) {
		t.Errorf("the page:\n%s", page.body)
	}
	none := start(t, withUsers())
	page = none.browser().open(none.attempt(none.oauth()).url)
	if !strings.Contains(page.body, `guest" open>`) || strings.Contains(page.body, `class="person"`) {
		t.Errorf("the page without users:\n%s", page.body)
	}
}

// TestUnmet: a user who does not reach the authentication context gets a page that says
// so, and the application an error if the user wants that.
func TestUnmet(t *testing.T) {
	t.Parallel()
	s := start(t, withUsers(directory.User{Key: "weak", ACR: []string{"basic", "otp"}}, directory.User{Key: "strong", ACR: []string{"mfa"}}))
	b := s.browser()
	a := s.attempt(s.oauth(), "acr_values", "mfa other")
	login := b.open(a.url)
	page := b.choose(login, "weak")
	if page.status != http.StatusForbidden || page.to != nil {
		t.Fatalf("%d at %s", page.status, page.url)
	}
	for _, want := range []string{"<code>mfa</code> or <code>other</code>", "<code>basic</code> and <code>otp</code> only", "Choose another user"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the page lacks %s:\n%s", want, page.body)
		}
	}
	m := requestField.FindStringSubmatch(page.body)
	back := b.submit(s.issuer+"/login", url.Values{"request": {m[1]}, "user": {"weak"}, "unmet": {"1"}})
	if back.to == nil || back.to.Query().Get("error") != "unmet_authentication_requirements" || back.to.Query().Get("state") != a.state {
		t.Errorf("back with %v", back.to)
	}
	b = s.browser()
	a = s.attempt(s.oauth(), "acr_values", "mfa")
	if page = b.choose(b.open(a.url), "weak"); page.status != http.StatusForbidden {
		t.Fatalf("status %d", page.status)
	}
	a.code(t, s, b.choose(b.open(s.issuer+"/login?request="+requestField.FindStringSubmatch(page.body)[1]), "strong"))
}
