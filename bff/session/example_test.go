package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
)

// A login creates a session, the requests that follow load it, and a logout
// ends it.
func Example() {
	store, err := memory.New(memory.Config{})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	manager, err := session.NewManager(session.ManagerConfig{
		Store:       store,
		Secrets:     []string{"8f3c1e0b5a7d94260cbe81f7d3a2659e"}, // from openssl rand -hex 16
		BaseURL:     &url.URL{Scheme: "https", Host: "shop.example"},
		IdleTimeout: time.Hour,
	})
	if err != nil {
		panic(err)
	}

	ctx := context.Background()
	_, cookie, err := manager.Create(ctx, session.NewSession{
		Issuer: "https://idp.example", Subject: "user-1",
		Data: session.Data{Tokens: session.Tokens{Access: "an access token"}},
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(cookie.Name)

	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.AddCookie(cookie)
	s, err := manager.Load(ctx, request)
	if err != nil {
		panic(err)
	}
	fmt.Println(s.Subject, s.Bearer())

	if err := manager.End(ctx, s, session.ReasonSignedOut); err != nil {
		panic(err)
	}
	_, err = manager.Load(ctx, request)
	fmt.Println("ended:", errors.Is(err, session.ErrNotFound))
	// Output:
	// __Host-gatehouse
	// user-1 Bearer an access token
	// ended: true
}

// A configuration is checked as a whole, without contacting anything.
func ExampleManagerConfig_Validate() {
	fmt.Println(session.ManagerConfig{IdleTimeout: time.Millisecond, CookieName: "__Host-shop"}.Validate())
	// Output:
	// Store is missing; give a session store
	// Secrets is missing; make one with: openssl rand -hex 32
	// IdleTimeout "1ms" is shorter than a second; give a duration such as 90s or 24h
	// CookieName "__Host-shop" is not usable: has a prefix; __Host- is added where the base URL is https; give letters, digits and hyphens, such as gatehouse
}

// plain is a store with the nine methods of session.Store and nothing else.
type plain struct{ session.Store }

// local completes it for a bff of a single process.
type local struct {
	plain
	session.LocalNotes
}

func (*local) ProcessLocal() bool { return true }

// A store needs nine methods. One that a single process uses gets the notes,
// which a bff needs too, from LocalNotes.
func ExampleLocalNotes() {
	core, err := memory.New(memory.Config{})
	if err != nil {
		panic(err)
	}
	defer core.Close()
	store := &local{plain: plain{core}}
	_, index := any(store).(session.Index)
	_, notes := any(store).(session.NoteStore)
	fmt.Println("index:", index, "notes:", notes)

	// Without an index, IndexOf reads all sessions.
	ended, err := session.IndexOf(store).DeleteBySubject(context.Background(), "https://idp.example", "user-1", session.ReasonOperator)
	fmt.Println(len(ended), err)
	// Output:
	// index: false notes: true
	// 0 <nil>
}
