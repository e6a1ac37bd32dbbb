package gatehousetest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/gatehousetest"
	"github.com/gatehouse-dev/gatehouse/gatehousetest/internal/notes"
)

// TestStoreDown: sessions cannot be read while the store is down, and are there afterwards.
func TestStoreDown(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	client := app.SignIn(t, "editor")
	for _, fault := range []gatehousetest.Fault{{Kind: gatehousetest.StoreDown}, {Kind: gatehousetest.StoreDown, Times: 1}} {
		heal := app.Break(t, fault)
		wantStatus(t, client, http.MethodGet, "/api/notes", http.StatusServiceUnavailable)
		if fault.Times == 0 {
			wantStatus(t, client, http.MethodGet, "/readyz", http.StatusServiceUnavailable)
			wantStatus(t, client, http.MethodGet, "/api/notes", http.StatusServiceUnavailable)
			heal()
		}
		wantStatus(t, client, http.MethodGet, "/api/notes", http.StatusOK)
	}
	t.Run("until its end", func(t *testing.T) {
		app.Break(t, gatehousetest.Fault{Kind: gatehousetest.StoreDown})
		wantStatus(t, client, http.MethodGet, "/api/notes", http.StatusServiceUnavailable)
	})
	wantStatus(t, client, http.MethodGet, "/api/notes", http.StatusOK)
}

// TestStoreSlow: answers are late, and heal ends the delays under way.
func TestStoreSlow(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	client := app.SignIn(t, "editor")
	begun := time.Now()
	app.Break(t, gatehousetest.Fault{Kind: gatehousetest.StoreSlow, Delay: 20 * time.Millisecond, Times: 1})
	wantStatus(t, client, http.MethodGet, "/api/notes", http.StatusOK)
	if took := time.Since(begun); took < 20*time.Millisecond {
		t.Errorf("the answer took %v", took)
	}
	heal := app.Break(t, gatehousetest.Fault{Kind: gatehousetest.StoreSlow, Delay: time.Hour})
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		wantStatus(t, client, http.MethodGet, "/api/notes", http.StatusOK)
	}()
	heal()
	<-answered
}

// TestProviderDown: a session outlives an outage of the provider as long as its access token is
// valid, and there are no sign-ins.
func TestProviderDown(t *testing.T) {
	t.Parallel()
	for _, kind := range []gatehousetest.FaultKind{gatehousetest.ProviderDown, gatehousetest.ProviderUnreachable} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			app := gatehousetest.Start(t, notes.App())
			client := app.SignIn(t, "editor")
			heal := app.Break(t, gatehousetest.Fault{Kind: kind})
			wantStatus(t, client, http.MethodGet, "/api/notes", http.StatusOK)
			if failed := attempt(t, func(t testing.TB) { app.SignIn(t, "editor") }); !strings.Contains(failed, `sign in "editor"`) {
				t.Errorf("the sign-in fails with %q", failed)
			}
			app.Clock.Advance(6 * time.Minute)
			wantStatus(t, client, http.MethodGet, "/api/notes", http.StatusServiceUnavailable)
			heal()
			app.Clock.Advance(5 * time.Minute)
			wantStatus(t, client, http.MethodGet, "/api/notes", http.StatusOK)
		})
	}
}

// TestRefreshRefused: the session ends when the provider says that the user is signed out, of this
// user alone.
func TestRefreshRefused(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	editor, reader := app.SignIn(t, "editor"), app.SignIn(t, "reader")
	app.Break(t, gatehousetest.Fault{Kind: gatehousetest.RefreshRefused, User: "editor"})
	app.Clock.Advance(6 * time.Minute)
	wantStatus(t, editor, http.MethodGet, "/api/notes", http.StatusUnauthorized)
	wantStatus(t, reader, http.MethodGet, "/api/notes", http.StatusOK)
}

// TestLogOut: the sessions of a user end everywhere.
func TestLogOut(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	first, second, reader := app.SignIn(t, "editor"), app.SignIn(t, "editor"), app.SignIn(t, "reader")
	app.LogOut(t, "editor")
	wantStatus(t, first, http.MethodGet, "/api/notes", http.StatusUnauthorized)
	wantStatus(t, second, http.MethodGet, "/api/notes", http.StatusUnauthorized)
	wantStatus(t, reader, http.MethodGet, "/api/notes", http.StatusOK)
	app.LogOut(t, "")
	wantStatus(t, reader, http.MethodGet, "/api/notes", http.StatusUnauthorized)
}

// TestKeys: tokens outlive a rotation of keys, and not the withdrawal of theirs.
func TestKeys(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	session, before := app.SignIn(t, "editor"), app.Token(t, "editor")
	app.RotateKeys(t)
	after := app.Token(t, "editor")
	wantStatus(t, app.Client(before), http.MethodGet, "/api/notes", http.StatusOK)
	wantStatus(t, app.Client(after), http.MethodGet, "/api/notes", http.StatusOK)
	wantStatus(t, session, http.MethodGet, "/api/notes", http.StatusOK)
	app.WithdrawKeys()
	app.RotateKeys(t) // an unknown key makes the server fetch the set
	wantStatus(t, app.Client(app.Token(t, "editor")), http.MethodGet, "/api/notes", http.StatusOK)
	wantStatus(t, app.Client(before), http.MethodGet, "/api/notes", http.StatusUnauthorized)
	wantStatus(t, session, http.MethodGet, "/api/notes", http.StatusOK) // the bff has renewed its token
}

// TestFaultsRefused: a test that breaks what cannot be broken fails.
// The provider signs with the algorithms of the settings, so that sign-ins, calls and
// rotations happen as with the application's own provider.
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ access, id string }{{"ES256", "EdDSA"}, {"EdDSA", "EdDSA"}, {"PS256,RS256", "ES256"}} {
		t.Run(c.access+" and "+c.id, func(t *testing.T) {
			t.Parallel()
			app := gatehousetest.Config{Settings: map[string]string{"access-token-algorithms": c.access, "id-token-algorithms": c.id}}.Start(t, notes.App())
			reader := app.SignIn(t, "reader")
			gatehousetest.Call(t, reader, "GET /api/notes", nil, http.StatusOK)
			gatehousetest.Call(t, app.Client(app.Token(t, "reader")), "GET /api/notes", nil, http.StatusOK)
			app.LogOut(t, "reader") // with a logout token
			gatehousetest.Call(t, reader, "GET /api/notes", nil, http.StatusUnauthorized)
		})
	}
}

func TestFaultsRefused(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	for _, c := range []struct {
		fault gatehousetest.Fault
		want  string
	}{
		{gatehousetest.Fault{}, "store-down"},
		{gatehousetest.Fault{Kind: "store-dwon"}, "store-dwon"},
		{gatehousetest.Fault{Kind: gatehousetest.ProviderDown, User: "editr"}, `did you mean "editor"?`},
		{gatehousetest.Fault{Kind: gatehousetest.ProviderSlow}, "Delay"},
		{gatehousetest.Fault{Kind: gatehousetest.StoreSlow}, "give a Delay"},
		{gatehousetest.Fault{Kind: gatehousetest.StoreDown, Delay: time.Second}, "give a Delay"},
		{gatehousetest.Fault{Kind: gatehousetest.StoreDown, User: "editor"}, "only Times and Delay"},
	} {
		if failed := attempt(t, func(t testing.TB) { app.Break(t, c.fault) }); !strings.Contains(failed, c.want) {
			t.Errorf("%+v: the test fails with %q, want %q", c.fault, failed, c.want)
		}
	}
	sqlite := gatehousetest.Config{Settings: map[string]string{"session-store": "sqlite:" + t.TempDir() + "/sessions.db"}}.Start(t, notes.App())
	if failed := attempt(t, func(t testing.TB) { sqlite.Break(t, gatehousetest.Fault{Kind: gatehousetest.StoreDown}) }); !strings.Contains(failed, "session-store") {
		t.Errorf("another store: the test fails with %q", failed)
	}
	client := sqlite.SignIn(t, "editor")
	sqlite.Clock.Advance(23 * time.Hour)
	wantStatus(t, client, http.MethodGet, "/api/notes", http.StatusOK)
	sqlite.Clock.Advance(25 * time.Hour)
	wantStatus(t, client, http.MethodGet, "/api/notes", http.StatusUnauthorized)
}

// TestUsers: users of a test, those at the start and those that come later.
func TestUsers(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Config{Users: []gatehousetest.User{
		{Key: "editor", Permissions: []string{"notes:write"}, Claims: map[string]any{"tenant": "north"}}, {Key: "reader"},
	}}.Start(t, notes.App())
	wantStatus(t, app.SignIn(t, "editor"), http.MethodPost, "/api/notes", http.StatusOK)
	wantStatus(t, app.SignIn(t, "reader"), http.MethodPost, "/api/notes", http.StatusForbidden)
	wantStatus(t, app.SignInAs(t, gatehousetest.User{Permissions: []string{"notes:write"}}), http.MethodPost, "/api/notes", http.StatusOK)
	guest := app.AddUser(t, gatehousetest.User{Permissions: []string{"notes:write"}})
	wantStatus(t, app.Client(app.Token(t, guest)), http.MethodPost, "/api/notes", http.StatusOK)
	if me := get(t, app.SignIn(t, "editor"), "/api/auth/me"); !strings.Contains(me, `"tenant":"north"`) {
		t.Errorf("the user is %s", me)
	}
	if failed := attempt(t, func(t testing.TB) { app.SignIn(t, "author") }); !strings.Contains(failed, "there is no user \"author\"; the users are editor, reader") {
		t.Errorf("the test fails with %q", failed)
	}
	twice := gatehousetest.Config{Users: []gatehousetest.User{{Key: "editor"}, {Key: "editor"}}}
	if failed := attempt(t, func(t testing.TB) { twice.Start(t, notes.App()) }); !strings.Contains(failed, "editor") {
		t.Errorf("the test fails with %q", failed)
	}
}

// TestSetTokens: lifetimes, and sessions without a refresh token.
func TestSetTokens(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	app.SetTokens(t, gatehousetest.Tokens{AccessLifetime: time.Hour, NoRefresh: true})
	client, token := app.SignIn(t, "reader"), app.Client(app.Token(t, "reader"))
	app.SetTokens(t, gatehousetest.Tokens{})
	renewed, short := app.SignIn(t, "reader"), app.Client(app.Token(t, "reader"))
	app.Clock.Advance(50 * time.Minute)
	for _, long := range []*http.Client{client, token, renewed} {
		wantStatus(t, long, http.MethodGet, "/api/notes", http.StatusOK)
	}
	wantStatus(t, short, http.MethodGet, "/api/notes", http.StatusUnauthorized)
	app.Clock.Advance(15 * time.Minute)
	wantStatus(t, client, http.MethodGet, "/api/notes", http.StatusUnauthorized)
	wantStatus(t, renewed, http.MethodGet, "/api/notes", http.StatusOK)
	if failed := attempt(t, func(t testing.TB) { app.SetTokens(t, gatehousetest.Tokens{AccessLifetime: -1}) }); !strings.Contains(failed, "AccessTokenLifetime") {
		t.Errorf("the test fails with %q", failed)
	}
}
