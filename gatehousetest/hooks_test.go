package gatehousetest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/gatehouse-dev/gatehouse"
	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/gatehousetest"
	"github.com/gatehouse-dev/gatehouse/gatehousetest/internal/notes"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// What the code of docs/hooks.md uses.
type (
	account      struct{ Role string }
	accountStore map[string]account
	cartStore    struct{ deleted chan string }
)

var (
	errNoAccount = errors.New("no account")
	accounts     = accountStore{"dev|editor": {"editor"}}
	carts        = cartStore{make(chan string, 10)}
	terms        sync.Map // subject → has accepted
)

func (s accountStore) Find(_ context.Context, _, subject string) (account, error) {
	a, ok := s[subject]
	if !ok {
		return account{}, errNoAccount
	}
	return a, nil
}

func (s cartStore) Delete(_ context.Context, subject, _ string) { s.deleted <- subject }

// The functions from here to TestHooks are those of docs/hooks.md.

func acceptedTerms(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if caller, ok := authn.FromContext(ctx); ok {
		if _, accepted := terms.Load(caller.Subject); !accepted {
			return nil, status.Error(codes.FailedPrecondition, "accept the terms first")
		}
	}
	return handler(ctx, req)
}

func addRole(ctx context.Context, in *bff.SignIn) error {
	account, err := accounts.Find(ctx, in.Issuer, in.Subject)
	if err != nil {
		return err // the user sees that something went wrong, the log has the error
	}
	in.Claims["role"] = account.Role
	delete(in.Claims, "picture")
	return nil
}

func membersOnly(ctx context.Context, in *bff.SignIn) error {
	if _, err := accounts.Find(ctx, in.Issuer, in.Subject); errors.Is(err, errNoAccount) {
		return &bff.Refusal{
			Reason:  "no_account",
			Title:   "You have no account yet",
			Message: "Ask the office to open one for you, and sign in again.",
			Link:    &web.Link{Label: "Ask for an account", Href: "/join"},
		}
	}
	return nil
}

func forgetCart(ctx context.Context, e audit.Event) {
	carts.Delete(ctx, e.Subject, e.Session)
}

func withOptions(app gatehouse.App) gatehouse.App {
	app.RequestHeaders = []string{"Idempotency-Key", "X-Tenant"}
	app.MuxOptions = []runtime.ServeMuxOption{
		runtime.WithMetadata(func(_ context.Context, r *http.Request) metadata.MD {
			return metadata.Pairs("tenant", strings.ToLower(r.Header.Get("X-Tenant")))
		}),
		runtime.WithForwardResponseOption(func(_ context.Context, w http.ResponseWriter, _ proto.Message) error {
			w.Header().Set("X-Shop-Version", "2")
			return nil
		}),
	}
	return app
}

// TestHooks has every hook of docs/hooks.md in an application, and sees each at work.
func TestHooks(t *testing.T) {
	t.Parallel()
	seen := make(chan metadata.MD, 10)
	app := withOptions(notes.App())
	app.UnaryInterceptors = []grpc.UnaryServerInterceptor{acceptedTerms, func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		seen <- md
		return handler(ctx, req)
	}}
	app.Hooks = bff.Hooks{
		SignIn: func(ctx context.Context, in *bff.SignIn) error {
			if err := membersOnly(ctx, in); err != nil {
				return err
			}
			return addRole(ctx, in)
		},
		SessionEnded: forgetCart,
	}
	app.ErrorPages = fstest.MapFS{"templates/problem.html": {Data: []byte(`<!doctype html><title>Shop</title><h1>{{.Title}}</h1><p>{{.Reason}}</p><a href="{{.Action.Href}}">{{.Action.Label}}</a>`)}}
	s := gatehousetest.Start(t, app)

	resp, err := s.Client("").Get(s.SignInURL("reader", "/"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden || resp.Request.URL.Path != "/api/auth/callback" {
		t.Errorf("a user without an account got %d at %s, want 403", resp.StatusCode, resp.Request.URL)
	}
	page, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.BaseURL+"/api/auth/callback?code=x&state=y", nil)
	if err != nil {
		t.Fatal(err)
	}
	page.Header.Set("Accept", "text/html")
	if resp, err = s.Client("").Do(page); err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || !strings.Contains(string(body), "<title>Shop</title>") {
		t.Errorf("got the page %s, %v, want the application's", body, err)
	}
	editor := s.SignIn(t, "editor")
	if me := get(t, editor, "/api/auth/me"); !strings.Contains(me, `"role":"editor"`) {
		t.Errorf("the user is %s, want the role", me)
	}
	wantStatus(t, editor, http.MethodGet, "/api/notes", http.StatusBadRequest)
	terms.Store("dev|editor", true)
	t.Cleanup(terms.Clear) // for -count
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.BaseURL+"/api/notes", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Tenant", "ACME")
	r.Header.Set("X-Forwarded-User", "admin")
	resp, err = editor.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	md := <-seen
	if resp.StatusCode != http.StatusOK || resp.Header.Get("X-Shop-Version") != "2" || md.Get("tenant")[0] != "acme" || md.Get("x-tenant")[0] != "ACME" || md.Get("x-forwarded-user") != nil {
		t.Errorf("got %d, %v; the service got %v", resp.StatusCode, resp.Header, md)
	}
	wantStatus(t, editor, http.MethodDelete, "/api/auth/sessions", http.StatusOK) // ends no session
	s.SignIn(t, "editor")
	wantStatus(t, editor, http.MethodDelete, "/api/auth/sessions", http.StatusOK)
	select {
	case subject := <-carts.deleted:
		if subject != "dev|editor" {
			t.Errorf("told of the end of a session of %s", subject)
		}
	case <-time.After(time.Minute):
		t.Error("not told of the end of a session")
	}
}

// TestRefusedSignIn is the test of a refusal of docs/hooks.md.
func TestRefusedSignIn(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Config{Users: []gatehousetest.User{{Key: "guest"}}}.Start(t, withMembers(notes.App()))
	gatehousetest.Call(t, app.Client(""), "GET "+app.SignInURL("guest", "/"), nil, http.StatusForbidden)
}

func withMembers(app gatehouse.App) gatehouse.App {
	app.Hooks.SignIn = membersOnly // Hooks is a bff.Hooks
	return app
}

// TestHooksDocument checks that the code of docs/hooks.md is the code of this file, which
// TestHooks runs.
func TestHooksDocument(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("hooks_test.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(document), -1)
	if len(blocks) < 5 {
		t.Errorf("%d blocks of Go, want those of all hooks", len(blocks))
	}
	for _, block := range blocks {
		if !strings.Contains(string(own), block[1]) {
			t.Errorf("docs/hooks.md has code that no test runs:\n%s", block[1])
		}
	}
}
