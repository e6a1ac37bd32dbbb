package gatehousetest_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gatehouse-dev/gatehouse/gatehousetest"
	"github.com/gatehouse-dev/gatehouse/gatehousetest/internal/notes"
)

func wantStatus(t testing.TB, client *http.Client, method, address string, want int) {
	t.Helper()
	var note any
	if method == http.MethodPost {
		note = "\"Buy milk\""
	}
	gatehousetest.Call(t, client, method+" "+address, note, want)
}

func get(t testing.TB, client *http.Client, address string) string {
	t.Helper()
	return gatehousetest.Call(t, client, "GET "+address, nil, http.StatusOK).String()
}

// TestSignIn: a signed-in client has the session of its user, with and without a host in the
// address, and another client does not.
func TestSignIn(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	editor, guest := app.SignIn(t, "editor"), app.Client("")
	wantStatus(t, editor, http.MethodGet, "/api/notes", http.StatusOK)
	wantStatus(t, editor, http.MethodGet, app.BaseURL+"/api/notes", http.StatusOK)
	wantStatus(t, editor, http.MethodGet, "/profile", http.StatusOK) // a page that needs a login
	wantStatus(t, guest, http.MethodGet, "/api/notes", http.StatusUnauthorized)
	wantStatus(t, guest, http.MethodGet, "/api/motto", http.StatusOK)
	for user, client := range map[string]*http.Client{"editor": editor, "reader": app.SignIn(t, "reader")} {
		if me := get(t, client, "/api/auth/me"); !strings.Contains(me, `"sub":"dev|`+user+`"`) {
			t.Errorf("%s: the user is %s", user, me)
		}
	}
	if cookies := app.Cookies(t, "editor"); len(cookies) == 0 || cookies[0].Name != "gatehouse" || cookies[0].Domain != "localhost" || cookies[0].Path != "/" {
		t.Errorf("the cookies are %v", cookies)
	}
}

// TestToken: tokens with all kinds of claims, at the gateway and at the server.
func TestToken(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	writes := gatehousetest.Claims{"permissions": []string{"notes:write"}}
	for _, c := range []struct {
		name, user string
		claims     []gatehousetest.Claims
		want       int
	}{
		{"a user without the permission", "reader", nil, http.StatusForbidden},
		{"a user with another permission", "reader", []gatehousetest.Claims{writes}, http.StatusOK},
		{"no user", "", []gatehousetest.Claims{writes, {"sub": "u1"}}, http.StatusOK},
		{"no subject", "", []gatehousetest.Claims{writes, {"client_id": nil, "azp": nil}}, http.StatusUnauthorized},
		{"expired", "reader", []gatehousetest.Claims{writes, {"exp": app.Clock.Now().Add(-time.Hour)}}, http.StatusUnauthorized},
		{"another audience", "reader", []gatehousetest.Claims{writes, {"aud": "https://other.example"}}, http.StatusUnauthorized},
		{"another issuer", "reader", []gatehousetest.Claims{writes, {"iss": "https://other.example"}}, http.StatusUnauthorized},
		{"no expiry", "reader", []gatehousetest.Claims{writes, {"exp": nil}}, http.StatusUnauthorized},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			token := app.Token(t, c.user, c.claims...)
			wantStatus(t, app.Client(token), http.MethodPost, "/api/notes", c.want)
			_, err := notes.NewClient(app.Conn(t, token)).CreateNote(t.Context(), wrapperspb.String("Buy milk"))
			want := map[int]codes.Code{http.StatusOK: codes.OK, http.StatusForbidden: codes.PermissionDenied, http.StatusUnauthorized: codes.Unauthenticated}[c.want]
			if got := status.Code(err); got != want {
				t.Errorf("gRPC: got %v, want %v", err, want)
			}
		})
	}
}

// TestMachineToken: a machine client has its permissions, and is no user.
func TestMachineToken(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	wantStatus(t, app.Client(app.MachineToken(t, "demo-machine")), http.MethodPost, "/api/notes", http.StatusOK)
	none := gatehousetest.Claims{"permissions": []string{}}
	wantStatus(t, app.Client(app.MachineToken(t, "demo-machine", none)), http.MethodPost, "/api/notes", http.StatusForbidden)
	if failed := attempt(t, func(t testing.TB) { app.MachineToken(t, "demo-machin") }); !strings.Contains(failed, "demo-machine") {
		t.Errorf("an unknown machine fails with %q", failed)
	}
}

// TestClock: all parts have the clock, and the application can have it too.
func TestClock(t *testing.T) {
	t.Parallel()
	clock := new(gatehousetest.Clock)
	app := gatehousetest.Config{
		Clock: clock, Settings: map[string]string{"session-idle-timeout": "1h", "session-absolute-timeout": "3h"},
	}.Start(t, notes.AppAt(clock.Now))
	deletes := gatehousetest.Claims{"permissions": []string{"notes:write"}}
	old := app.Client(app.Token(t, "editor", deletes))
	fresh := app.Client(app.Token(t, "editor", deletes, gatehousetest.Claims{"exp": clock.Now().Add(24 * time.Hour)}))
	used, unused := app.SignIn(t, "editor"), app.SignIn(t, "editor")
	wantStatus(t, fresh, http.MethodDelete, "/api/notes", http.StatusOK)

	clock.Advance(40 * time.Minute)
	wantStatus(t, old, http.MethodGet, "/api/notes", http.StatusUnauthorized)      // the access token has expired
	wantStatus(t, fresh, http.MethodDelete, "/api/notes", http.StatusUnauthorized) // the sign-in is older than max_age
	wantStatus(t, fresh, http.MethodGet, "/api/notes", http.StatusOK)
	wantStatus(t, used, http.MethodGet, "/api/notes", http.StatusOK) // the bff has refreshed its token
	clock.Advance(40 * time.Minute)
	wantStatus(t, used, http.MethodGet, "/api/notes", http.StatusOK)
	wantStatus(t, unused, http.MethodGet, "/api/notes", http.StatusUnauthorized) // idle
	for range 3 {
		clock.Advance(40 * time.Minute)
		resp, err := used.Get("/api/notes")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	wantStatus(t, used, http.MethodGet, "/api/notes", http.StatusUnauthorized) // in spite of its use
	var now time.Time
	gatehousetest.Call(t, app.Client(""), "GET /api/time", nil, http.StatusOK).Decode(t, &now)
	if behind := clock.Now().Sub(now); behind < 0 || behind > time.Minute {
		t.Errorf("the service has the time %v, the clock %v", now, clock.Now())
	}
	wantStatus(t, app.SignIn(t, "editor"), http.MethodGet, "/api/notes", http.StatusOK)
	clock.Advance(48 * time.Hour) // longer than keys are used
	wantStatus(t, app.Client(app.Token(t, "editor")), http.MethodGet, "/api/notes", http.StatusOK)
	wantStatus(t, app.SignIn(t, "editor"), http.MethodGet, "/api/notes", http.StatusOK)
}

// TestClockOfDenials: a revocation counts from the time of the clock, and is forgotten after a day.
func TestClockOfDenials(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Config{Settings: map[string]string{"denylist": "memory:"}}.Start(t, notes.App())
	app.Clock.Advance(time.Hour)
	editor := app.Client(app.Token(t, "editor", gatehousetest.Claims{"exp": app.Clock.Now().Add(48 * time.Hour)}))
	operator := app.Client(app.Token(t, "", gatehousetest.Claims{"sub": "operator", "permissions": []string{"sessions:admin"}}))
	gatehousetest.Call(t, operator, "POST /api/admin/sessions:end", `{"subject":"dev|editor"}`, http.StatusOK)
	wantStatus(t, editor, http.MethodGet, "/api/notes", http.StatusUnauthorized)
	app.Clock.Advance(25 * time.Hour)
	wantStatus(t, editor, http.MethodGet, "/api/notes", http.StatusOK)
}

// TestManyLogins: more logins start from the address of the tests than from one of a user.
func TestManyLogins(t *testing.T) {
	t.Parallel()
	client := gatehousetest.Start(t, notes.App()).Client("")
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for range 200 { // the default of the setting login-rate is 120 in a minute
		wantStatus(t, client, http.MethodGet, "/api/auth/login", http.StatusSeeOther)
	}
}

// TestClockOfStreams: an open event stream ends soon after the clock's end of its session.
func TestClockOfStreams(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	resp, err := app.SignIn(t, "editor").Get("/api/auth/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	app.Clock.Advance(8 * 24 * time.Hour)
	if events, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(events), "event: ended") {
		t.Errorf("the events are %q, error %v", events, err)
	}
}

// TestSettings: settings have the names of flags, those of the application too.
func TestSettings(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Config{Settings: map[string]string{"notes-on-page": "1"}}.Start(t, notes.App())
	client := app.Client(app.Token(t, "editor", gatehousetest.Claims{"permissions": []string{"notes:write"}}))
	for _, note := range []string{`"a"`, `"b"`} {
		gatehousetest.Call(t, client, "POST /api/notes", note, http.StatusOK)
	}
	if list := get(t, client, "/api/notes"); list != `["b"]` {
		t.Errorf("got %s, want one note", list)
	}
	for setting, want := range map[string]string{
		"sesion-store": "unknown flag --sesion-store; did you mean --session-store?",
		"log-level":    "--log-level=often: is not a choice; give one of debug, info, warn, error",
	} {
		failed := attempt(t, func(t testing.TB) {
			gatehousetest.Config{Settings: map[string]string{setting: "often"}}.Start(t, notes.App())
		})
		if !strings.Contains(failed, want) {
			t.Errorf("%s: the test fails with %q, want %q", setting, failed, want)
		}
	}
}

// An attempted test may fail. Its TB is nil in an example.
type attempted struct {
	testing.TB
	mu       sync.Mutex
	failure  string
	log      strings.Builder
	cleanups []func()
}

func (a *attempted) Helper() {}

func (a *attempted) Context() context.Context { return context.Background() }

func (a *attempted) Output() io.Writer { return a }

func (a *attempted) Cleanup(f func()) { a.cleanups = append(a.cleanups, f) }

func (a *attempted) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.log.Write(p)
}

func (a *attempted) Errorf(format string, args ...any) { a.failure += fmt.Sprintf(format, args...) }

func (a *attempted) Fatalf(format string, args ...any) {
	a.Errorf(format, args...)
	runtime.Goexit()
}

// attempt runs a test and returns the text of its failure, "" for none.
func attempt(t testing.TB, test func(testing.TB)) string {
	a := &attempted{TB: t}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() {
			for _, cleanup := range slices.Backward(a.cleanups) {
				cleanup()
			}
		}()
		test(a)
	}()
	<-ended
	return a.failure
}

// TestIsolation: neither the environment nor the working directory changes a system. It is not
// parallel, because both are the process's.
func TestIsolation(t *testing.T) {
	notified, err := net.ListenPacket("unixgram", filepath.Join(t.TempDir(), "notify"))
	if err != nil {
		t.Fatal(err)
	}
	defer notified.Close()
	t.Chdir(t.TempDir())
	write(t, "go.mod", "module example.com/notes\n")
	write(t, ".env", "GATEHOUSE_PROTECT=none\nGATEHOUSE_LOG_LEVEL=loud\n")
	t.Setenv("GATEHOUSE_SESSION_STORE", "nonsense")
	t.Setenv("NOTIFY_SOCKET", notified.LocalAddr().String())
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "nonsense")
	app := gatehousetest.Start(t, notes.App())
	wantStatus(t, app.SignIn(t, "editor"), http.MethodGet, "/profile", http.StatusOK)
	entries, err := os.ReadDir(".")
	if err != nil || len(entries) != 2 {
		t.Errorf("the working directory has %v, error %v", entries, err)
	}
	if err := notified.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, _, err := notified.ReadFrom(make([]byte, 100)); err == nil {
		t.Errorf("systemd has got %d bytes", n)
	}
	// The users file of the module counts in all of its packages.
	write(t, "dev-users.yaml", "users: {author: {permissions: ['notes:write']}}\n")
	if err := os.MkdirAll("internal/notes", 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir("internal/notes")
	wantStatus(t, gatehousetest.Start(t, notes.App()).SignIn(t, "author"), http.MethodPost, "/api/notes", http.StatusOK)
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestEnd: nothing is left when a test has ended, and nothing is written to its output. It is not
// parallel, so that it sees no goroutine of other tests.
func TestEnd(t *testing.T) {
	before := goroutines()
	for range 3 {
		if failed := attempt(t, func(t testing.TB) {
			app := gatehousetest.Start(t, notes.App())
			get(t, app.SignIn(t, "editor"), "/api/notes")
			_, _ = notes.NewClient(app.Conn(t, app.Token(t, "editor"))).CreateNote(context.Background(), wrapperspb.String("a"))
			resp, err := app.SignIn(t, "editor").Get("/api/auth/events") // an open stream
			if err != nil {
				t.Error(err)
			}
			t.Cleanup(func() { _ = resp.Body.Close() })
		}); failed != "" {
			t.Error(failed)
		}
	}
	limit := time.After(time.Minute)
	for {
		left := goroutines()
		for stack := range before {
			delete(left, stack)
		}
		if len(left) == 0 {
			return
		}
		select {
		case <-limit:
			t.Fatalf("%d goroutines are left: %v", len(left), left)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// goroutines returns the stacks of all goroutines, without their states, by number.
func goroutines() map[string]string {
	text := make([]byte, 4<<20)
	all := map[string]string{}
	for stack := range strings.SplitSeq(string(text[:runtime.Stack(text, true)]), "\n\n") {
		id, frames, _ := strings.Cut(stack, " [")
		all[id] = frames
	}
	return all
}

// TestParallel: systems do not share anything.
func TestParallel(t *testing.T) {
	t.Parallel()
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			app := gatehousetest.Start(t, notes.App())
			other := gatehousetest.Start(t, notes.App())
			client := app.Client(app.Token(t, "editor", gatehousetest.Claims{"permissions": []string{"notes:write"}}))
			wantStatus(t, client, http.MethodPost, "/api/notes", http.StatusOK)
			if list := get(t, other.SignIn(t, "editor"), "/api/notes"); list != "[]" {
				t.Errorf("the other system has %s", list)
			}
			wantStatus(t, other.Client(app.Token(t, "editor")), http.MethodGet, "/api/notes", http.StatusUnauthorized)
			app.Clock.Advance(time.Hour)
			wantStatus(t, other.Client(other.Token(t, "editor")), http.MethodGet, "/api/notes", http.StatusOK)
		})
	}
}

func wrapped(text string) *wrapperspb.StringValue { return wrapperspb.String(text) }

// BenchmarkStart measures start and end of a system, and BenchmarkSignIn a sign-in.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		if failed := attempt(b, func(t testing.TB) { gatehousetest.Start(t, notes.App()) }); failed != "" {
			b.Fatal(failed)
		}
	}
}

func BenchmarkSignIn(b *testing.B) {
	app := gatehousetest.Config{Settings: map[string]string{"login-rate": "1000000", "log-level": "error"}}.Start(b, notes.App())
	for b.Loop() {
		app.SignIn(b, "editor")
	}
}
