package bff_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
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
	// API is missing; give a gateway, or NewProxy to one
}
