package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

// A gate stands in front of a provider's token endpoint. It counts refreshes, and holds or answers
// them as a test says.
type gate struct {
	next *devidp.Provider
	// came receives each held refresh.
	came chan *heldRefresh

	mu        sync.Mutex
	hold      bool
	instead   http.HandlerFunc // answers refreshes instead of the provider
	isDown    bool             // it cuts every connection
	refreshes int              // that the provider has executed
	access    []string         // access tokens issued to logins, oldest first
}

// A heldRefresh waits for the test's decision.
type heldRefresh struct{ goOn chan bool } // false: the provider never receives it

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	isDown := g.isDown
	g.mu.Unlock()
	if isDown {
		panic(http.ErrAbortHandler)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body)) // an unparsable body is no refresh
	if r.Method != http.MethodPost || form.Get("grant_type") != "refresh_token" {
		g.pass(w, r, form.Get("grant_type") == "authorization_code")
		return
	}
	g.mu.Lock()
	hold, instead := g.hold, g.instead
	g.hold = false
	g.mu.Unlock()
	if hold {
		h := &heldRefresh{goOn: make(chan bool, 1)}
		g.came <- h
		if !<-h.goOn {
			return
		}
	}
	if instead != nil {
		instead(w, r)
		return
	}
	g.mu.Lock()
	g.refreshes++
	g.mu.Unlock()
	g.next.ServeHTTP(w, r)
}

// pass forwards a request to the provider, and keeps the access token of a login.
func (g *gate) pass(w http.ResponseWriter, r *http.Request, login bool) {
	if !login {
		g.next.ServeHTTP(w, r)
		return
	}
	answer := httptest.NewRecorder()
	g.next.ServeHTTP(answer, r)
	var tokens struct {
		Access string `json:"access_token"`
	}
	if json.Unmarshal(answer.Body.Bytes(), &tokens) == nil && tokens.Access != "" {
		g.mu.Lock()
		g.access = append(g.access, tokens.Access)
		g.mu.Unlock()
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes()) // fails only if the bff has gone
}

// lastAccess returns the access token of the latest login.
func (g *gate) lastAccess(t *testing.T) string {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.access) == 0 {
		t.Fatal("no login has brought an access token")
	}
	return g.access[len(g.access)-1]
}

func (g *gate) carriedOut() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refreshes
}

// holdNext holds the next refresh.
func (g *gate) holdNext() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hold = true
}

// down has the provider cut the connection of every request.
func (g *gate) down(isDown bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.isDown = isDown
}

func (g *gate) answer(instead http.HandlerFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.instead = instead
}

// startGated starts a development provider behind a gate. It rotates refresh tokens and detects
// their reuse. Its access tokens live for ttl.
func startGated(t *testing.T, base string, ttl time.Duration) (*gate, []string, *http.Server) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const audience = "https://api.e2e.example"
	clientSecret := rand.Text()
	issuer := "http://" + listener.Addr().String()
	provider, err := devidp.New(devidp.Config{
		Issuer: issuer, Audience: audience,
		Clients: []devidp.Client{{
			ID: "e2e", Secret: clientSecret, RedirectURIs: []string{base + "/api/auth/callback"}, PostLogoutRedirectURIs: []string{base},
			BackchannelLogoutURI: base + "/api/auth/backchannel-logout",
		}},
		Users: []directory.User{
			{Key: "seller", Name: "Sofia Marchetti", Permissions: []string{"products:write"}},
			{Key: "buyer"},
			{Key: "admin", Permissions: []string{"sessions:admin"}},
		},
		Behavior: devidp.Behavior{AccessTokenLifetime: ttl},
	})
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{next: provider, came: make(chan *heldRefresh, 1)}
	server := &http.Server{Handler: g}
	go func() { _ = server.Serve(listener) }() // ends with http.ErrServerClosed
	t.Cleanup(func() {
		_ = server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			t.Error("provider:", err)
		}
	})
	return g, []string{
		"GATEHOUSE_OIDC_ISSUER=" + issuer, "GATEHOUSE_OIDC_CLIENT_ID=e2e", "GATEHOUSE_OIDC_CLIENT_SECRET=" + clientSecret,
		"GATEHOUSE_AUDIENCE=" + audience, "GATEHOUSE_BASE_URL=" + base, "GATEHOUSE_SECRET=" + rand.Text() + rand.Text(),
	}, server
}
