package bff_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// A bff in front of an API: it forwards requests to /api with the user's access
// token, and sends users to the login for pages that need one. A program serves
// [BFF.Server] and calls [BFF.Run].
func Example() {
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			http.Error(w, "a token is needed", http.StatusUnauthorized)
			return
		}
		fmt.Fprintln(w, "hello")
	})
	provider, err := oidc.NewProvider(oidc.Config{Issuer: "https://idp.example"})
	if err != nil {
		log.Fatal(err)
	}
	store, err := memory.New(memory.Config{})
	if err != nil {
		log.Fatal(err)
	}
	b, err := bff.New(bff.Config{
		BaseURL:  "http://localhost:3000",
		Provider: provider,
		Client:   bff.ClientConfig{ID: "shop", Secret: "the client secret"},
		Login:    bff.LoginConfig{Audience: "https://api.shop.example"},
		Sessions: bff.SessionConfig{Store: store, Secrets: []string{rand.Text() + rand.Text()}},
		Access:   bff.AccessConfig{Protect: []string{"/private/:path*"}},
		API:      api,
	})
	if err != nil {
		log.Fatal(err)
	}
	front := httptest.NewServer(b)
	defer front.Close()

	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, path := range []string{"/api/greeting", "/private", "/api/auth/me"} {
		req, err := http.NewRequest(http.MethodGet, front.URL+path, nil)
		if err != nil {
			log.Fatal(err)
		}
		req.Header.Set("Accept", "text/html")
		req.Header.Set("Sec-Fetch-Mode", "navigate")
		req.Header.Set("Sec-Fetch-Dest", "document")
		resp, err := client.Do(req)
		if err != nil {
			log.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		fmt.Println(path, resp.StatusCode, resp.Header.Get("Location"))
	}
	// Output:
	// /api/greeting 303 /api/auth/login?returnTo=%2Fapi%2Fgreeting
	// /private 303 /api/auth/login?returnTo=%2Fprivate
	// /api/auth/me 204
}

// SignIn adds a claim from the application's own data, and refuses users without an
// account. SessionEnded learns why a session has ended.
func ExampleHooks() {
	roles := map[string]string{"auth0|sofia": "seller"}
	hooks := bff.Hooks{
		SignIn: func(_ context.Context, in *bff.SignIn) error {
			role, ok := roles[in.Subject]
			if !ok {
				return &bff.Refusal{
					Reason: "no_account", Title: "You have no account yet",
					Message: "Ask the office to open one for you, and sign in again.",
					Link:    &web.Link{Label: "Ask for an account", Href: "/join"},
				}
			}
			in.Claims["role"] = role // for pages: /api/auth/me returns it
			return nil
		},
		SessionEnded: func(_ context.Context, e audit.Event) {
			fmt.Println(e.Subject, e.Action, e.Cause)
		},
	}
	// A bff calls them; this shows what they do.
	in := &bff.SignIn{Subject: "auth0|sofia", Claims: map[string]any{}}
	fmt.Println(hooks.SignIn(context.Background(), in), in.Claims["role"])
	fmt.Println(hooks.SignIn(context.Background(), &bff.SignIn{Subject: "auth0|tom"}))
	hooks.SessionEnded(context.Background(), audit.Event{Action: audit.SignOut, Cause: audit.User, Subject: "auth0|sofia"})
	// Output:
	// <nil> seller
	// bff: login refused: no_account
	// auth0|sofia sign_out user
}

// Validate reports every problem at once, by the field.
func ExampleConfig_Validate() {
	cfg := bff.Config{
		BaseURL: "http://shop.example",
		Client:  bff.ClientConfig{ID: "shop", Auth: bff.AuthPrivateKey},
	}
	fmt.Println(cfg.Validate())
	// Output:
	// BaseURL "http://shop.example" is invalid: http is for loopback only: session cookies and codes would travel in the clear; use https://
	// Provider is missing; give the oidc.Provider that signs users in
	// Client.Auth "private_key_jwt" needs a client key; give the method that goes with the secret or the key, or remove what is not used
	// Sessions.Store is missing; give a session store
	// Sessions.Secrets is missing; make one with: openssl rand -hex 32
	// API is missing; give a gateway, or an Upstream
}

// A server that was there before moves behind the bff: it gets the user's access token,
// and one part of it is open to all visitors.
func ExampleRoute() {
	orders := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello")
	}))
	defer orders.Close()
	provider, err := oidc.NewProvider(oidc.Config{Issuer: "https://idp.example"})
	if err != nil {
		log.Fatal(err)
	}
	store, err := memory.New(memory.Config{})
	if err != nil {
		log.Fatal(err)
	}
	b, err := bff.New(bff.Config{
		BaseURL:  "http://localhost:3000",
		Provider: provider,
		Client:   bff.ClientConfig{ID: "shop", Secret: "the client secret"},
		Login:    bff.LoginConfig{Audience: "https://api.shop.example"},
		Sessions: bff.SessionConfig{Store: store, Secrets: []string{rand.Text() + rand.Text()}},
		API:      http.NotFoundHandler(),
		Routes: []bff.Route{
			{Path: "/orders", Upstream: bff.UpstreamConfig{Targets: []string{orders.URL}}},
			{
				Path: "/orders/prices", Public: true, Token: bff.RouteToken{Kind: bff.TokenNone},
				Upstream: bff.UpstreamConfig{Targets: []string{orders.URL}},
			},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	front := httptest.NewServer(b)
	defer front.Close()

	for _, path := range []string{"/orders/prices", "/orders/5", "/orders//prices"} {
		resp, err := http.Get(front.URL + path)
		if err != nil {
			log.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		fmt.Println(path, resp.StatusCode)
	}
	// Output:
	// /orders/prices 200
	// /orders/5 401
	// /orders//prices 404
}
