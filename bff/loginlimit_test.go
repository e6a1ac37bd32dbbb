package bff_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
)

func from(address string) edit { return func(r *http.Request) { r.RemoteAddr = address } }

// An address that starts too many logins has to wait. Others, and the provider,
// are not affected.
func TestLoginStartsAreLimited(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *bff.Config) { c.Login.Rate = 60 })
	s.idp.offersPAR()
	s.reconfigure()
	b := s.browser()
	mallory := from("198.51.100.7:4711")
	for i := range 60 {
		if res := b.navigate("/api/auth/login", mallory); res.StatusCode != http.StatusSeeOther {
			t.Fatalf("start %d: status %d", i+1, res.StatusCode)
		}
	}
	before := len(s.idp.called("/par"))
	res := b.navigate("/api/auth/login?returnTo=/private", mallory)
	wantStatus(t, res, http.StatusTooManyRequests)
	if res.Header.Get("Retry-After") != "1" || !strings.Contains(res.body, "wait 1 s and") || !strings.Contains(res.body, "returnTo=%2Fprivate") {
		t.Errorf("Retry-After %q: %s", res.Header.Get("Retry-After"), res.body)
	}
	if res := b.fetch("/api/auth/login", mallory); res.StatusCode != http.StatusTooManyRequests || !strings.HasPrefix(res.body, `{"code":8,`) {
		t.Errorf("a program got %d: %s", res.StatusCode, res.body)
	}
	if len(s.idp.called("/par")) != before {
		t.Error("the provider was asked all the same")
	}
	wantStatus(t, s.browser().navigate("/api/auth/login", from("198.51.100.8:4711")), http.StatusSeeOther)
	// A login under way is completed, whatever else its address does.
	s.idp.metadata["pushed_authorization_request_endpoint"] = ""
	s.clock.Advance(time.Second)
	wantStatus(t, b.navigate("/api/auth/login", mallory), http.StatusSeeOther)
	wantStatus(t, b.navigate("/api/auth/login", mallory), http.StatusTooManyRequests)
	s.clock.Advance(time.Hour)
	for range 60 {
		wantStatus(t, b.navigate("/api/auth/login", mallory), http.StatusSeeOther)
	}
	wantStatus(t, b.navigate("/api/auth/login", mallory), http.StatusTooManyRequests)
}

// The limit counts an IPv4 address, an IPv6 /64, and behind trusted proxies the
// address that they report. Other forwarded addresses are not used.
func TestWhoIsLimited(t *testing.T) {
	t.Parallel()
	proxy := func(c *bff.Config) { c.Access.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }
	forwarded := func(i int) []edit {
		return []edit{from("10.0.0.1:1"), header("X-Forwarded-For", fmt.Sprintf("203.0.113.%d", i))}
	}
	for name, c := range map[string]struct {
		options []func(*bff.Config)
		start   func(i int) []edit
		limited bool
	}{
		"one IPv4 address":           {nil, func(i int) []edit { return []edit{from(fmt.Sprintf("198.51.100.1:%d", 1000+i))} }, true},
		"the same, mapped":           {nil, func(i int) []edit { return []edit{from(fmt.Sprintf("[::ffff:198.51.100.1]:%d", 1000+i))} }, true},
		"many IPv4 addresses":        {nil, func(i int) []edit { return []edit{from(fmt.Sprintf("198.51.100.%d:1", i))} }, false},
		"one IPv6 /64":               {nil, func(i int) []edit { return []edit{from(fmt.Sprintf("[2001:db8::%x]:1", i+1))} }, true},
		"many IPv6 /64":              {nil, func(i int) []edit { return []edit{from(fmt.Sprintf("[2001:db8:0:%x::1]:1", i))} }, false},
		"many behind a proxy":        {[]func(*bff.Config){proxy}, forwarded, false},
		"one behind a proxy":         {[]func(*bff.Config){proxy}, func(int) []edit { return forwarded(1) }, true},
		"a made-up forwarded header": {nil, forwarded, true},
		"no address":                 {nil, func(int) []edit { return []edit{from("@")} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, append(c.options, func(c *bff.Config) { c.Login.Rate = 10 })...)
			refused := 0
			for i := range 20 {
				switch res := s.browser().navigate("/api/auth/login", c.start(i)...); res.StatusCode {
				case http.StatusTooManyRequests:
					refused++
				case http.StatusSeeOther:
				default:
					t.Fatalf("status %d", res.StatusCode)
				}
			}
			if want := map[bool]int{true: 10}[c.limited]; refused != want {
				t.Errorf("%d of 20 refused, want %d", refused, want)
			}
		})
	}
}

// The limit is logged once, with a remedy for a proxy that is not configured.
func TestLimitIsLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	record := &record{secrets: map[string]string{}}
	s := start(t, func(c *bff.Config) { c.Login.Rate, c.Logger = 2, logger(record) })
	for i := range 6 {
		s.browser().navigate("/api/auth/login", from("10.0.0.1:1"), header("X-Forwarded-For", "203.0.113."+strconv.Itoa(i)))
	}
	record.mu.Lock()
	defer record.mu.Unlock()
	log.Write(record.log.Bytes())
	if n := strings.Count(log.String(), "too many logins"); n != 1 || !strings.Contains(log.String(), "Access.TrustedProxies") {
		t.Errorf("%d lines: %s", n, log.String())
	}
}

// A flood from many addresses takes bounded memory, and logins succeed.
func TestLimitIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	admit, size := bff.LoginStarts(10, func() time.Time { return now })
	var raw [16]byte
	for i := range 120_000 {
		raw[0], raw[1], raw[2], raw[3] = 0x20, byte(i>>16), byte(i>>8), byte(i)
		if wait := admit(netip.AddrFrom16(raw)); wait != 0 {
			t.Fatalf("the %dth address has to wait %v", i, wait)
		}
	}
	if n := size(); n > 50_000 {
		t.Errorf("%d clients remembered", n)
	}
	// An address that goes on is limited meanwhile.
	insists := netip.MustParseAddr("198.51.100.7")
	for range 10 {
		admit(insists)
	}
	if admit(insists) == 0 {
		t.Error("not limited")
	}
	if _, err := bff.New(func() bff.Config { c := start(t).cfg; c.Login.Rate = -1; return c }()); err == nil || !strings.Contains(err.Error(), `Login.Rate "-1"`) {
		t.Errorf("a negative rate: %v", err)
	}
}

// A header that is too large without its cookies is refused at once, at every address.
func TestHeaderLimit(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *bff.Config) { cfg.Limits.MaxHeaderBytes = 2000 })
	for _, path := range []string{"/", "/api/products", "/api/auth/backchannel-logout", "/healthz"} {
		for size, want := range map[int]bool{1500: false, 2000: true} {
			res := s.browser().fetch(path, header("X-Large", strings.Repeat("x", size)))
			if got := res.StatusCode == http.StatusRequestHeaderFieldsTooLarge; got != want {
				t.Errorf("%s with a header of %d bytes: %s", path, size, res.Status)
			}
			if want && res.Header.Get("Connection") != "close" {
				t.Errorf("%s: the connection stays open", path)
			}
		}
	}
	wantStatus(t, s.browser().fetch("/?"+strings.Repeat("q", 2000)), http.StatusRequestHeaderFieldsTooLarge)
}

// Abandoned logins leave nothing in any store: the attempt is in a
// cookie. All of them increment one counter.
func TestAbandonedLoginsAreNotStored(t *testing.T) {
	t.Parallel()
	var writes atomic.Int64
	var counters sync.Map
	s := start(t, func(cfg *bff.Config) {
		store, err := memory.New(memory.Config{Now: cfg.Now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		cfg.Sessions.Store = &writeCount{store, &writes, &counters}
	})
	before := writes.Load()
	for i := range 1000 {
		wantStatus(t, s.browser().navigate("/api/auth/login", from(fmt.Sprintf("10.0.%d.%d:1", i/250, i%250))), http.StatusSeeOther)
	}
	if n := writes.Load() - before; n != 0 {
		t.Errorf("1000 abandoned logins have left %d records in the store", n)
	}
	kept := 0
	counters.Range(func(_, _ any) bool { kept++; return true })
	if kept != 1 {
		t.Errorf("1000 abandoned logins use %d counters, want one", kept)
	}
	s.browser().signIn()
	if writes.Load() == before {
		t.Error("a login made no write: the test cannot fail")
	}
}

// A writeCount is a store that counts what is added to it.
type writeCount struct {
	*memory.Store
	writes   *atomic.Int64
	counters *sync.Map // by kind and key
}

func (w *writeCount) Create(ctx context.Context, r session.Record, replaces session.ID) error {
	w.writes.Add(1)
	return w.Store.Create(ctx, r, replaces)
}

func (w *writeCount) AddNote(ctx context.Context, n session.Note) (bool, error) {
	w.writes.Add(1)
	return w.Store.AddNote(ctx, n)
}

func (w *writeCount) PutNote(ctx context.Context, n session.Note) error {
	w.writes.Add(1)
	return w.Store.PutNote(ctx, n)
}

func (w *writeCount) CountNote(ctx context.Context, kind, key string, expires time.Time) (int64, error) {
	w.counters.Store(kind+" "+key, true)
	return w.Store.CountNote(ctx, kind, key, expires)
}
