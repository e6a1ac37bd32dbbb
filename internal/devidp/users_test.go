package devidp_test

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

// withUsers replaces the users.
func withUsers(users ...directory.User) func(*devidp.Config) {
	return func(c *devidp.Config) { c.Users = users }
}

// TestUserDefaults: a key is enough, and names complete each other.
func TestUserDefaults(t *testing.T) {
	t.Parallel()
	s := start(t, withUsers(
		directory.User{Key: "notes-admin"},
		directory.User{Key: "ann", Name: "Ann Mary Lee"},
		directory.User{Key: "bo", GivenName: "Bo", FamilyName: "Ek"},
		directory.User{Key: "k", Name: "K", Subject: "auth0|k", Email: "k@k.test", Permissions: []string{"p"}}))
	want := []directory.User{
		{Key: "notes-admin", Subject: "dev|notes-admin", Name: "Notes Admin", GivenName: "Notes", FamilyName: "Admin", Email: "notes-admin@example.com", Permissions: []string{}},
		{Key: "ann", Subject: "dev|ann", Name: "Ann Mary Lee", GivenName: "Ann Mary", FamilyName: "Lee", Email: "ann@example.com", Permissions: []string{}},
		{Key: "bo", Subject: "dev|bo", Name: "Bo Ek", GivenName: "Bo", FamilyName: "Ek", Email: "bo@example.com", Permissions: []string{}},
		{Key: "k", Subject: "auth0|k", Name: "K", GivenName: "K", Email: "k@k.test", Permissions: []string{"p"}},
	}
	if diff := cmp.Diff(want, s.provider.Users()); diff != "" {
		t.Error(diff)
	}
}

// TestUserProblems: an error names the user, the field, the value and the remedy.
func TestUserProblems(t *testing.T) {
	t.Parallel()
	s := start(t)
	a := directory.User{Key: "a"}
	many := make([]string, 1500)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for name, c := range map[string]struct {
		users []directory.User
		want  string
	}{
		"no key":                {[]directory.User{{Name: "A"}}, `user "": is not a key; write`},
		"key with a space":      {[]directory.User{{Key: "a b"}}, `user "a b": is not a key; write`},
		"long key":              {[]directory.User{{Key: strings.Repeat("a", 65)}}, `is not a key; write`},
		"key twice":             {[]directory.User{a, {Key: "a", Subject: "x", Email: "x@x"}}, `user "a": is that of user "a" too; give`},
		"subject twice":         {[]directory.User{a, {Key: "b", Subject: "dev|a"}}, `user "b": subject is that of user "a" too; give`},
		"address twice":         {[]directory.User{a, {Key: "b", Email: "A@Example.com"}}, `user "b": email is that of user "a" too; give`},
		"no address":            {[]directory.User{{Key: "a", Email: "example.com"}}, `user "a": email "example.com" is not an address; write one such as a@example.com, or none`},
		"control character":     {[]directory.User{{Key: "a", Name: "A\x00"}}, `user "a": name "A\x00" has control characters; write`},
		"not UTF-8":             {[]directory.User{{Key: "a", Subject: "\xff"}}, `user "a": subject "\xff" has control characters; write`},
		"long text":             {[]directory.User{{Key: "a", About: strings.Repeat("x", 513)}}, `user "a": about has 513 bytes; write at most 512`},
		"empty permission":      {[]directory.User{{Key: "a", Permissions: []string{""}}}, `user "a": permissions has an empty value; leave`},
		"permission twice":      {[]directory.User{{Key: "a", Permissions: []string{"p", "p"}}}, `user "a": permissions "p" is given twice; leave`},
		"many permissions":      {[]directory.User{{Key: "a", Permissions: many}}, `user "a": claims and lists have 9435 bytes, which do not fit into a token; write at most 8192`},
		"claim without JSON":    {[]directory.User{{Key: "a", Claims: map[string]any{"n": math.Inf(1)}}}, `user "a": claims cannot be written as JSON; use`},
		"scope with a space":    {[]directory.User{{Key: "a", Scopes: []string{"a b"}}}, `user "a": scopes "a b" has characters that this value cannot have; write`},
		"acr in quotes":         {[]directory.User{{Key: "a", ACR: []string{`"mfa"`}}}, `user "a": acr "\"mfa\"" has characters that this value cannot have; write`},
		"claim of the protocol": {[]directory.User{{Key: "a", Claims: map[string]any{"iss": "x"}}}, `user "a": claims cannot have iss, which the provider sets; leave`},
		"claim with a field":    {[]directory.User{{Key: "a", Claims: map[string]any{"sub": "x"}}}, `user "a": claims cannot have sub; write it as subject of the user`},
		"claim without a name":  {[]directory.User{{Key: "a", Claims: map[string]any{"": "x"}}}, `user "a": claims "" is not the name of a claim`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := devidp.New(devidp.Config{
				Issuer: "http://127.0.0.1:3001", Audience: audience, Users: c.users,
				Clients: []devidp.Client{{ID: clientID, Secret: secret, RedirectURIs: []string{callback}}},
			})
			if err == nil || !strings.Contains(err.Error(), "devidp: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("New: %v, want %s", err, c.want)
			}
			if err := s.provider.SetUsers(c.users); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("SetUsers: %v, want %s", err, c.want)
			}
			if len(c.users) == 1 {
				if _, err := s.provider.AddUser(c.users[0]); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("AddUser: %v, want %s", err, c.want)
				}
			}
		})
	}
}

// TestClaims: the claims of a user are in all tokens and in userinfo, and replace
// those that have no field.
func TestClaims(t *testing.T) {
	t.Parallel()
	org := map[string]any{"id": "acme", "roles": []any{"owner"}}
	s := start(t, withUsers(directory.User{
		Key: "a", Claims: map[string]any{"org": org, "email_verified": false, "preferred_username": "annie", "locale": "sv"},
		Scopes: []string{"notes:read"}, Permissions: []string{"notes:write"},
	}))
	token := s.signIn(s.browser(), "a", "openid", "profile", "email", "notes:read", "notes:write", "notes:admin")
	_, access := s.verify(token.AccessToken)
	_, id := s.verify(idToken(token))
	_, info := s.userinfo(token.AccessToken)
	for name, claims := range map[string]map[string]any{"access token": access, "ID token": id, "userinfo": info} {
		for claim, want := range map[string]any{"org": org, "email_verified": false, "preferred_username": "annie", "locale": "sv"} {
			if diff := cmp.Diff(want, claims[claim]); diff != "" {
				t.Errorf("%s, %s: %s", name, claim, diff)
			}
		}
	}
	if want := "openid profile email notes:read notes:write"; access["scope"] != want {
		t.Errorf("scope %q, want %q", access["scope"], want)
	}
}

// TestNoEmail: users may have no address.
func TestNoEmail(t *testing.T) {
	t.Parallel()
	s := start(t, withUsers(directory.User{Key: "a", Email: directory.NoEmail}, directory.User{Key: "b", Email: directory.NoEmail}))
	_, id := s.verify(idToken(s.signIn(s.browser(), "a", "openid", "profile", "email")))
	for _, claim := range []string{"email", "email_verified"} {
		if value, ok := id[claim]; ok {
			t.Errorf("%s is %v, want no claim", claim, value)
		}
	}
}

// TestAddUser: a user that is added can be signed in until it has not been used for
// half a day, and changes count from the next token on.
func TestAddUser(t *testing.T) {
	t.Parallel()
	s := start(t)
	added, err := s.provider.AddUser(directory.User{Key: "guest", Permissions: []string{"one"}})
	if err != nil || added.Subject != "dev|guest" || added.Email != "guest@example.com" {
		t.Fatalf("%+v, %v", added, err)
	}
	if _, err := s.provider.AddUser(directory.User{Key: "other", Subject: "dev|guest"}); err == nil {
		t.Error("two guests have one subject")
	}
	if _, err := s.provider.AddUser(directory.User{Key: "seller", Subject: "x", Email: "x@example.com"}); err == nil {
		t.Error("a configured user is replaced")
	}
	b := s.browser()
	token := s.signIn(b, "guest")
	if _, claims := s.verify(token.AccessToken); fmt.Sprint(claims["permissions"]) != "[one]" {
		t.Errorf("permissions %v", claims["permissions"])
	}
	if _, err := s.provider.AddUser(directory.User{Key: "guest", Permissions: []string{"two"}}); err != nil {
		t.Fatal(err)
	}
	token, err = s.refresh(token.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	if _, claims := s.verify(token.AccessToken); fmt.Sprint(claims["permissions"]) != "[two]" {
		t.Errorf("permissions after the change %v", claims["permissions"])
	}
	for range 3 { // each use keeps the user
		s.clock.advance(11 * time.Hour)
		if token, err = s.refresh(token.RefreshToken); err != nil {
			t.Fatal(err)
		}
	}
	s.clock.advance(12 * time.Hour)
	if _, err := s.refresh(token.RefreshToken); err == nil || !strings.Contains(err.Error(), "invalid_grant") {
		t.Errorf("a refresh of a user that is gone: %v", err)
	}
	if page := b.open(s.attempt(s.oauth()).url); page.status != http.StatusOK || strings.Contains(page.body, "dev|guest") {
		t.Errorf("the session of a user that is gone: %d at %s", page.status, page.url)
	}
	if n := len(s.provider.Users()); n != len(people) {
		t.Errorf("%d users, want %d", n, len(people))
	}
}

// TestAddUserIsBounded: the user that was used least recently makes room.
func TestAddUserIsBounded(t *testing.T) {
	t.Parallel()
	s := start(t)
	for i := range 1001 {
		if _, err := s.provider.AddUser(directory.User{Key: fmt.Sprint("guest-", i)}); err != nil {
			t.Fatal(err)
		}
		s.clock.advance(time.Second)
	}
	users := s.provider.Users()
	if len(users) != len(people)+1000 || users[len(people)].Key != "guest-1000" || users[len(users)-1].Key != "guest-1" {
		t.Errorf("%d users, the latest guest is %s, the oldest %s", len(users), users[len(people)].Key, users[len(users)-1].Key)
	}
}

// TestSetUsers: changed users have their new permissions at the next token, and
// sessions of removed users end with a logout token.
func TestSetUsers(t *testing.T) {
	t.Parallel()
	calls := newLogoutCalls(t)
	s := start(t, func(c *devidp.Config) { c.Clients[0].BackchannelLogoutURI = calls.url })
	seller, buyer := s.browser(), s.browser()
	sold, bought := s.signIn(seller, "seller"), s.signIn(buyer, "buyer")
	if err := s.provider.SetUsers([]directory.User{{Key: "seller", Permissions: []string{"all"}}}); err != nil {
		t.Fatal(err)
	}
	if _, claims := s.verify(calls.next(t)); claims["sub"] != "dev|buyer" {
		t.Errorf("logout token for %v", claims["sub"])
	}
	if _, err := s.refresh(bought.RefreshToken); err == nil || !strings.Contains(err.Error(), "invalid_grant") {
		t.Errorf("refresh of a removed user: %v", err)
	}
	if status, _ := s.userinfo(bought.AccessToken); status != http.StatusUnauthorized {
		t.Errorf("userinfo of a removed user: %d", status)
	}
	token, err := s.refresh(sold.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	if _, claims := s.verify(token.AccessToken); fmt.Sprint(claims["permissions"]) != "[all]" {
		t.Errorf("permissions %v", claims["permissions"])
	}
	if got := seller.open(s.attempt(s.oauth()).url); got.to == nil {
		t.Errorf("the session of a user who stays has ended: %d", got.status)
	}
}
