package gatehousetest_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/gatehousetest"
	"github.com/gatehouse-dev/gatehouse/gatehousetest/internal/notes"
)

// A test of a service through the API that browsers use.
func Example() {
	// func TestNotes(t *testing.T) {
	example(func(t testing.TB) {
		app := gatehousetest.Start(t, notes.App())
		editor, reader := app.SignIn(t, "editor"), app.SignIn(t, "reader")

		gatehousetest.Call(t, editor, "POST /api/notes", `"Buy milk"`, http.StatusOK)
		gatehousetest.Call(t, reader, "POST /api/notes", `"Buy wine"`, http.StatusForbidden)
		gatehousetest.Call(t, app.Client(""), "GET /api/notes", nil, http.StatusUnauthorized)

		var list []string
		gatehousetest.Call(t, reader, "GET /api/notes", nil, http.StatusOK).Decode(t, &list)
		fmt.Println(list)
	})
	// Output: [Buy milk]
}

// A test of the policy of a method with tokens that no user has.
func ExampleSystem_Token() {
	// func TestPolicy(t *testing.T) {
	example(func(t testing.TB) {
		app := gatehousetest.Start(t, notes.App())
		for _, c := range []struct {
			user   string
			claims gatehousetest.Claims
			want   int
		}{
			{"editor", nil, http.StatusOK},
			{"editor", gatehousetest.Claims{"exp": app.Clock.Now().Add(-time.Hour)}, http.StatusUnauthorized},
			{"editor", gatehousetest.Claims{"aud": "https://other.example"}, http.StatusUnauthorized},
			{"editor", gatehousetest.Claims{"permissions": nil}, http.StatusForbidden},
			{"reader", gatehousetest.Claims{"permissions": []string{"notes:write"}}, http.StatusOK},
		} {
			client := app.Client(app.Token(t, c.user, c.claims))
			gatehousetest.Call(t, client, "POST /api/notes", `"Buy milk"`, c.want)
		}
	})
	// Output:
}

// A test of the end of a session, which takes milliseconds.
func ExampleClock_Advance() {
	// func TestIdle(t *testing.T) {
	example(func(t testing.TB) {
		app := gatehousetest.Config{Settings: map[string]string{"session-idle-timeout": "30m"}}.Start(t, notes.App())
		reader := app.SignIn(t, "reader")

		app.Clock.Advance(20 * time.Minute) // the access token is renewed
		gatehousetest.Call(t, reader, "GET /api/notes", nil, http.StatusOK)
		app.Clock.Advance(40 * time.Minute)
		gatehousetest.Call(t, reader, "GET /api/notes", nil, http.StatusUnauthorized)
	})
	// Output:
}

// A test of an outage of the provider: users stay signed in, and work on when it is back.
func ExampleSystem_Break() {
	// func TestOutage(t *testing.T) {
	example(func(t testing.TB) {
		app := gatehousetest.Start(t, notes.App())
		reader := app.SignIn(t, "reader")

		heal := app.Break(t, gatehousetest.Fault{Kind: gatehousetest.ProviderDown})
		gatehousetest.Call(t, reader, "GET /api/notes", nil, http.StatusOK)
		app.Clock.Advance(10 * time.Minute) // the access token has expired
		gatehousetest.Call(t, reader, "GET /api/notes", nil, http.StatusServiceUnavailable)

		heal()
		app.Clock.Advance(5 * time.Minute) // the bff asks the provider again
		gatehousetest.Call(t, reader, "GET /api/notes", nil, http.StatusOK)
	})
	// Output:
}

// A table for the review of an API: who may call what. CheckAccess compares it with a file.
func ExampleSystem_Access() {
	// func TestAccess(t *testing.T) {
	example(func(t testing.TB) {
		app := gatehousetest.Start(t, notes.App())
		fmt.Print(app.Access(t, "editor", "reader"))
	})
	// Output:
	// method                                                       policy                                                no token  editor   reader
	// gatehouse.sessionadmin.v1.SessionAdminService/DeleteSession  token, permission sessions:admin                      sign in   no       no
	// gatehouse.sessionadmin.v1.SessionAdminService/EndSessions    token, permission sessions:admin                      sign in   no       no
	// gatehouse.sessionadmin.v1.SessionAdminService/ListSessions   token, permission sessions:admin                      sign in   no       no
	// notes.v1.NotesService/CreateNote                             token, permission notes:write                         sign in   yes      no
	// notes.v1.NotesService/DeleteNotes                            token, permission notes:write, signed in within 5m0s  sign in   yes      no
	// notes.v1.NotesService/ExportNotes                            token, acr mfa                                        sign in   step up  step up
	// notes.v1.NotesService/ImportNote                             token, permission notes:write, callers machines       sign in   no       no
	// notes.v1.NotesService/ListNotes                              token                                                 sign in   yes      yes
	// notes.v1.NotesService/Motto                                  public                                                yes       yes      yes
	// notes.v1.NotesService/Time                                   public                                                yes       yes      yes
}

// example runs a test, and prints why it fails.
func example(test func(testing.TB)) {
	if failure := attempt(nil, test); failure != "" {
		fmt.Println(failure)
	}
}
