package e2e

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// A slowProvider is an issuer that delays each of its two documents, metadata and keys.
type slowProvider struct {
	*tokentest.Issuer
	each     atomic.Int64 // nanoseconds
	answered sync.Map     // path → when it was first answered, as time.Time
}

func newSlowProvider(t *testing.T) *slowProvider {
	t.Helper()
	p := &slowProvider{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(time.Duration(p.each.Load())):
		case <-r.Context().Done():
			return
		}
		res, err := p.Client().Get(p.URL + r.URL.Path)
		if err != nil {
			t.Error(err)
			return
		}
		defer res.Body.Close()
		p.answered.LoadOrStore(r.URL.Path, time.Now())
		maps.Copy(w.Header(), res.Header)
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	}))
	p.Issuer = tokentest.NewUnserved(t, "http://"+server.Listener.Addr().String())
	server.Start()
	t.Cleanup(server.Close)
	return p
}

// An arrival is a request that was answered.
type arrival struct {
	at     time.Time // when it was sent
	took   time.Duration
	login  bool
	status int
}

// load sends calls with a bearer token to the gateway and logins to the bff, a hundred of each a
// second, until it is stopped. Requests that find no listener, or one that is closing, are not
// counted.
func load(t *testing.T, rest, bff, bearer string) (stop func() []arrival) {
	t.Helper()
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var mu sync.Mutex
	var seen []arrival
	ending := make(chan struct{})
	var all sync.WaitGroup
	send := func(login bool) {
		url := rest + "/api/private-route"
		if login {
			url = bff + "/api/auth/login"
		}
		req, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			t.Error(err)
			return
		}
		if login {
			req.Header.Set("Accept", "text/html")
		} else {
			req.Header.Set("Authorization", "Bearer "+bearer)
		}
		sent := time.Now()
		res, err := client.Do(req)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, arrival{sent, time.Since(sent), login, res.StatusCode})
	}
	for _, login := range []bool{false, true} {
		all.Go(func() {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-ending:
					return
				case <-tick.C:
					all.Go(func() { send(login) })
				}
			}
		})
	}
	return func() []arrival {
		close(ending)
		all.Wait()
		return seen
	}
}

// good reports whether a request was served.
func (a arrival) good() bool {
	return a.login && a.status == http.StatusSeeOther || !a.login && a.status == http.StatusOK
}

// restarted runs gatehouse serve under load, stops it, starts it again with a provider that delays
// each document, and returns what arrived at the second process until done.
func restarted(t *testing.T, each time.Duration, done func(second *process, rest string)) ([]arrival, *slowProvider) {
	t.Helper()
	idp := newSlowProvider(t)
	bff, rest, grpc := freeAddress(t), freeAddress(t), freeAddress(t)
	env := append(tutorialEnvironment(idp.URL, "http://"+bff), "GATEHOUSE_LOGIN_RATE=100000", "GATEHOUSE_LOG_LEVEL=error")
	serve := func() *process {
		return gatehouse(t, env, "serve", "--listen-bff="+bff, "--listen-gateway="+rest, "--listen-grpc="+grpc)
	}
	first := serve()
	first.ready(t, "http://"+rest+"/readyz")
	bearer := idp.Mint(map[string]any{"aud": opAudience, "exp": time.Now().Add(time.Hour).Unix()})
	stop := load(t, "http://"+rest, "http://"+bff, bearer)
	first.stop(t)
	idp.each.Store(int64(each))
	idp.answered.Clear()
	again := time.Now()
	second := serve()
	done(second, rest)
	seen := slices.DeleteFunc(stop(), func(a arrival) bool { return a.at.Before(again) })
	second.stop(t)
	return seen, idp
}

// A restart under load fails no request that can be served within 2 s: requests that arrive before
// the provider has answered wait for it.
func TestRestartUnderLoad(t *testing.T) {
	t.Parallel()
	seen, _ := restarted(t, 500*time.Millisecond, func(second *process, rest string) { second.ready(t, "http://"+rest+"/readyz") })
	kinds := map[bool]int{}
	for _, a := range seen {
		if !a.good() {
			t.Errorf("login %t: status %d after %v", a.login, a.status, a.took)
		}
		if a.took > 100*time.Millisecond {
			kinds[a.login]++
		}
	}
	if kinds[false] == 0 || kinds[true] == 0 {
		t.Errorf("%d calls and %d logins waited, of %d requests: nothing is proved", kinds[false], kinds[true], len(seen))
	}
}
