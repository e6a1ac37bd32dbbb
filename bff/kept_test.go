package bff_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// keeper is an API in this process that keeps its requests, as a goroutine may do that a
// handler has started.
type keeper struct {
	mu   sync.Mutex
	kept []keptRequest
}

type keptRequest struct {
	request *http.Request
	header  http.Header // as it was when the request was served
	id      string
}

func (k *keeper) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept = append(k.kept, keptRequest{r, r.Header.Clone(), requestid.FromContext(r.Context())})
}

// Drain makes it a gateway in this process.
func (k *keeper) Drain() {}

// Requests of two users at the same time do not mix, also not in what an API keeps of them. A user
// who has signed out has no token any more.
func TestKeptRequests(t *testing.T) {
	t.Parallel()
	api := &keeper{}
	s := start(t, func(cfg *bff.Config) { cfg.API = api })
	browsers := []*browser{s.browser().signIn(), s.browser().signIn()}
	const requests = 50
	var users sync.WaitGroup
	for user, b := range browsers {
		users.Go(func() {
			for n := range requests {
				b.do(http.MethodGet, fmt.Sprintf("/api/%d/%d", user, n), nil, func(r *http.Request) {
					r.Header.Set(requestid.Header, fmt.Sprintf("%d-%d", user, n))
					r.Header.Set("Accept-Language", fmt.Sprint(user))
				})
			}
		})
	}
	users.Wait()
	tokens := map[string]string{}
	for _, k := range api.kept {
		var user, n int
		if _, err := fmt.Sscanf(k.request.URL.Path, "/api/%d/%d", &user, &n); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(k.header, k.request.Header); diff != "" {
			t.Fatalf("the header of a kept request has changed:\n%s", diff)
		}
		language := k.header.Get("Accept-Language")
		if want := fmt.Sprintf("%d-%d", user, n); k.id != want || requestid.FromContext(k.request.Context()) != want || language != fmt.Sprint(user) {
			t.Fatalf("request %s has the id %s and the language %s", want, k.id, language)
		}
		token := k.header.Get("Authorization")
		if before, ok := tokens[language]; ok && before != token || token == "" {
			t.Fatalf("user %s has another token than before, or none", language)
		}
		tokens[language] = token
	}
	if len(api.kept) != 2*requests || tokens["0"] == tokens["1"] {
		t.Fatalf("%d requests, want %d with a token for each user", len(api.kept), 2*requests)
	}
	cookies := map[string]string{}
	for name, value := range browsers[0].cookies {
		cookies[name] = value
	}
	browsers[0].do(http.MethodPost, "/api/auth/logout", nil, site("same-origin"))
	browsers[0].cookies = cookies // an attacker's copy
	for user, b := range browsers {
		b.do(http.MethodGet, "/api/after", nil)
		got := api.kept[len(api.kept)-1].request.Header.Get("Authorization")
		if want := map[int]string{1: tokens["1"]}[user]; got != want {
			t.Errorf("after the logout of user 0, user %d has a token: %t, want %t", user, got != "", want != "")
		}
	}
}

// A handler that writes to the values of header fields changes its own answer alone.
func TestHeaderValuesAreNotShared(t *testing.T) {
	t.Parallel()
	careless := func(w http.ResponseWriter, _ *http.Request) {
		for _, values := range w.Header() {
			for i := range values {
				values[i] += "!"
			}
		}
	}
	s := start(t, func(cfg *bff.Config) {
		cfg.API = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			careless(w, r)
			w.WriteHeader(http.StatusOK)
			careless(w, r)
		})
	})
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			b := s.browser()
			for range 10 {
				b.do(http.MethodGet, "/api/x", nil)
			}
		})
	}
	users.Wait()
	got := s.browser().do(http.MethodGet, "/api/auth/session", nil).Header
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"} {
		if got.Get(name) != want {
			t.Errorf("%s = %q, want %q", name, got.Get(name), want)
		}
	}
	if got := s.browser().do(http.MethodGet, "/api/x", nil).Header["Vary"]; len(got) != 1 || len(got[0]) > len("Cookie!") {
		t.Errorf("Vary = %q, want Cookie with what the handler has added once", got)
	}
}
