package gatehousetest

import (
	"cmp"
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

// A User is a person at the development provider. Every field has a default.
type User struct {
	// Key is the name of the user in tests: at most 64 letters, digits, dots, hyphens and
	// underscores. Default: a random one.
	Key string
	// Subject is the claim sub. Default: "dev|" and the key.
	Subject string
	// Name and Email are those in ID tokens. Default: made of the key.
	Name, Email string
	// Permissions is the claim with the permissions.
	Permissions []string
	// Scopes are granted on request, besides those with the name of a permission.
	Scopes []string
	// ACR are the authentication context classes that a sign-in reaches: the first one without
	// a request, the others if it asks for them. Default: none without a request, and each one on
	// request.
	ACR []string
	// Claims are further claims of ID tokens, access tokens and userinfo.
	Claims map[string]any
}

func (u User) provided() directory.User {
	return directory.User{
		Key: cmp.Or(u.Key, "user-"+strings.ToLower(rand.Text())), Subject: u.Subject, Name: u.Name, Email: u.Email,
		Permissions: u.Permissions, Scopes: u.Scopes, ACR: u.ACR, Claims: u.Claims,
	}
}

// AddUser adds a user to a system that runs, and returns the key.
func (s *System) AddUser(t testing.TB, u User) (key string) {
	t.Helper()
	added, err := s.run.Provider.AddUser(u.provided())
	if err != nil {
		t.Fatalf("gatehousetest: add a user: %v", err)
	}
	return added.Key
}

// SignInAs signs in a new user:
//
//	editor := app.SignInAs(t, gatehousetest.User{Permissions: []string{"notes:write"}})
func (s *System) SignInAs(t testing.TB, u User) *http.Client {
	t.Helper()
	return s.SignIn(t, s.AddUser(t, u))
}

// user returns the user with a key, which a test wants to have.
func (s *System) user(t testing.TB, key string) directory.User {
	t.Helper()
	all := s.run.Provider.Users()
	i := slices.IndexFunc(all, func(u directory.User) bool { return u.Key == key })
	if i < 0 {
		var keys []string
		for _, u := range all {
			keys = append(keys, u.Key)
		}
		t.Fatalf("gatehousetest: there is no user %q; the users are %s", key, strings.Join(keys, ", "))
	}
	return all[i]
}

// setUsers replaces the users of a provider.
func (cfg Config) setUsers(t testing.TB, provider *devidp.Provider) {
	t.Helper()
	var all []directory.User
	for _, u := range cfg.Users {
		all = append(all, u.provided())
	}
	if err := provider.SetUsers(all); err != nil {
		t.Fatalf("gatehousetest: Users: %v", err)
	}
}
