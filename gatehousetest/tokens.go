package gatehousetest

import (
	"maps"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
)

// Claims are claims of an access token that differ from those of a user. A claim with the value nil
// is left out; a [time.Time] is written as a number of seconds.
type Claims map[string]any

// Token returns an access token of a user of the development provider, by the user's key, with all
// scopes that the user can be granted. It is valid for five minutes of the clock. For the key ""
// the token has no claims about a user: neither sub nor permissions.
//
// Claims change the token:
//
//	app.Token(t, "editor", gatehousetest.Claims{"exp": app.Clock.Now().Add(-time.Hour)}) // expired
//	app.Token(t, "editor", gatehousetest.Claims{"aud": "https://other.example"})
//	app.Token(t, "", gatehousetest.Claims{"sub": "u1", "permissions": []string{"notes:write"}})
func (s *System) Token(t testing.TB, user string, claims ...Claims) string {
	t.Helper()
	all := map[string]any{}
	req := devidp.TokenRequest{User: user, Claims: all}
	if user == "" { // the claims of a user without those about the user
		req.User, req.Scopes = s.AddUser(t, User{Key: "token-without-user"}), []string{}
		all["sub"], all["permissions"], all["auth_time"] = nil, nil, nil
	} else {
		req.User = s.user(t, user).Key
	}
	return s.mint(t, req, claims)
}

// MachineToken returns an access token of a machine client of the development provider, by the
// client's id, with all scopes that the client may have. Claims change it, as those of
// [System.Token].
func (s *System) MachineToken(t testing.TB, machine string, claims ...Claims) string {
	t.Helper()
	return s.mint(t, devidp.TokenRequest{Machine: machine, Claims: map[string]any{}}, claims)
}

// mint returns a token with further claims.
func (s *System) mint(t testing.TB, req devidp.TokenRequest, claims []Claims) string {
	t.Helper()
	for _, c := range claims {
		maps.Copy(req.Claims, c)
	}
	for name, value := range req.Claims {
		if at, ok := value.(time.Time); ok {
			req.Claims[name] = at.Unix()
		}
	}
	token, _, err := s.run.Provider.Mint(req)
	if err != nil {
		t.Fatalf("gatehousetest: token of %q: %v", req.User+req.Machine, err)
	}
	return token
}

// Tokens say how the provider issues tokens at sign-ins.
type Tokens struct {
	// AccessLifetime is how long access tokens are valid. Default: 5 minutes.
	AccessLifetime time.Duration
	// RefreshLifetime is how long after a sign-in its access tokens can be renewed. Default: 30
	// days.
	RefreshLifetime time.Duration
	// NoRefresh issues no refresh tokens, so that a session ends with its access token.
	NoRefresh bool
}

// SetTokens changes how the provider issues tokens from now on. Tokens that it has issued stay as they
// are. The zero value restores the defaults.
func (s *System) SetTokens(t testing.TB, tokens Tokens) {
	t.Helper()
	b := devidp.Behavior{AccessTokenLifetime: tokens.AccessLifetime, RefreshTokenLifetime: tokens.RefreshLifetime}
	if tokens.NoRefresh {
		b.RefreshTokens = devidp.NoRefreshTokens
	}
	if err := s.run.Provider.SetBehavior(b); err != nil {
		t.Fatalf("gatehousetest: set tokens: %v", err)
	}
}
