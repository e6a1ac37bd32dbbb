package gatehousetest_test

import (
	"bytes"
	"go/format"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gatehouse-dev/gatehouse/gatehousetest"
	"github.com/gatehouse-dev/gatehouse/gatehousetest/internal/notes"
)

// TestDocument: each block of Go in docs/testing.md is a part of this file, so that it compiles,
// and what it claims holds.
func TestDocument(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("document_test.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(document, -1)
	if len(blocks) < 8 {
		t.Errorf("the document has %d blocks of Go", len(blocks))
	}
	for _, block := range blocks {
		if !bytes.Contains(source, block[1]) {
			t.Errorf("this block is no part of document_test.go:\n%s", block[1])
		}
		if formatted, err := format.Source(block[1]); err != nil || string(formatted) != string(block[1]) {
			t.Errorf("this block is not in the form of gofmt, error %v:\n%s", err, block[1])
		}
	}
}

func TestNotes(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	editor, reader := app.SignIn(t, "editor"), app.SignIn(t, "reader")

	gatehousetest.Call(t, editor, "POST /api/notes", `"Buy milk"`, http.StatusOK)
	gatehousetest.Call(t, reader, "POST /api/notes", `"Buy wine"`, http.StatusForbidden)
	gatehousetest.Call(t, app.Client(""), "GET /api/notes", nil, http.StatusUnauthorized)

	var list []string
	gatehousetest.Call(t, reader, "GET /api/notes", nil, http.StatusOK).Decode(t, &list)
	if len(list) != 1 || list[0] != "Buy milk" {
		t.Errorf("got %q, want the note of the editor", list)
	}
}

func TestTenants(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	member := app.SignInAs(t, gatehousetest.User{
		Permissions: []string{"notes:write"},
		Claims:      map[string]any{"tenant": "north"},
	})
	gatehousetest.Call(t, member, "POST /api/notes", `"Buy milk"`, http.StatusOK)
}

func TestTokens(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	for _, c := range []struct {
		name   string
		claims gatehousetest.Claims
		want   int
	}{
		{"as issued", nil, http.StatusOK},
		{"expired", gatehousetest.Claims{"exp": app.Clock.Now().Add(-time.Hour)}, http.StatusUnauthorized},
		{"for another API", gatehousetest.Claims{"aud": "https://other.example"}, http.StatusUnauthorized},
		{"without permissions", gatehousetest.Claims{"permissions": nil}, http.StatusForbidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client := app.Client(app.Token(t, "editor", c.claims))
			gatehousetest.Call(t, client, "POST /api/notes", `"Buy milk"`, c.want)
		})
	}
}

func TestGRPC(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	client := notes.NewClient(app.Conn(t, app.Token(t, "reader")))
	_, err := client.CreateNote(t.Context(), wrapperspb.String("Buy milk"))
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("got %v, want PermissionDenied", err)
	}
}

func TestWhoMayCallWhat(t *testing.T) {
	t.Parallel()
	gatehousetest.Start(t, notes.App()).CheckAccess(t, "testdata/access.txt", "editor", "reader", "demo-job")
}

func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Config{
		Settings: map[string]string{"session-idle-timeout": "30m"},
	}.Start(t, notes.App())
	reader := app.SignIn(t, "reader")

	app.Clock.Advance(20 * time.Minute) // the access token has expired and is renewed
	gatehousetest.Call(t, reader, "GET /api/notes", nil, http.StatusOK)
	app.Clock.Advance(40 * time.Minute)
	gatehousetest.Call(t, reader, "GET /api/notes", nil, http.StatusUnauthorized)
}

func TestRecentSignIn(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	editor := app.SignIn(t, "editor")
	gatehousetest.Call(t, editor, "DELETE /api/notes", nil, http.StatusOK)

	app.Clock.Advance(6 * time.Minute) // longer than max_age of the policy
	gatehousetest.Call(t, editor, "DELETE /api/notes", nil, http.StatusUnauthorized)
	gatehousetest.Call(t, app.SignIn(t, "editor"), "DELETE /api/notes", nil, http.StatusOK)
}

func TestClockOfTheService(t *testing.T) {
	t.Parallel()
	clock := new(gatehousetest.Clock)
	app := gatehousetest.Config{Clock: clock}.Start(t, notes.AppAt(clock.Now))
	clock.Advance(24 * time.Hour)

	var now time.Time
	gatehousetest.Call(t, app.Client(""), "GET /api/time", nil, http.StatusOK).Decode(t, &now)
	if early := time.Now().Add(23 * time.Hour); now.Before(early) {
		t.Errorf("the service has the time %v, want one after %v", now, early)
	}
}

func TestProviderOutage(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	reader := app.SignIn(t, "reader")

	heal := app.Break(t, gatehousetest.Fault{Kind: gatehousetest.ProviderDown})
	gatehousetest.Call(t, reader, "GET /api/notes", nil, http.StatusOK)
	app.Clock.Advance(10 * time.Minute) // the access token has expired
	gatehousetest.Call(t, reader, "GET /api/notes", nil, http.StatusServiceUnavailable)

	heal()
	app.Clock.Advance(5 * time.Minute) // the bff asks the provider again
	gatehousetest.Call(t, reader, "GET /api/notes", nil, http.StatusOK)
}

func TestSignedOutElsewhere(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	laptop, phone := app.SignIn(t, "reader"), app.SignIn(t, "reader")
	app.LogOut(t, "reader")
	gatehousetest.Call(t, laptop, "GET /api/notes", nil, http.StatusUnauthorized)
	gatehousetest.Call(t, phone, "GET /api/notes", nil, http.StatusUnauthorized)
}

func TestOwnFrontEnd(t *testing.T) {
	t.Parallel()
	pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Gatehouse-Session"))
	}))
	t.Cleanup(pages.Close)
	app := gatehousetest.Config{Settings: map[string]string{"frontend": pages.URL}}.Start(t, notes.App())
	if state := gatehousetest.Call(t, app.SignIn(t, "reader"), "GET /start", nil, http.StatusOK); state.String() != "active" {
		t.Errorf("the front end gets the state %q, want active", state)
	}
}
