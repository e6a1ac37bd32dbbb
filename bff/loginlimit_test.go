package bff_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
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
	if res.Header.Get("Retry-After") != "1" || !strings.Contains(res.body, "wait 1 second and") || !strings.Contains(res.body, "returnTo=%2Fprivate") {
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
