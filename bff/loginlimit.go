package bff

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/origins"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/web"
)

const (
	// maxClients bounds the memory of who has started logins; an entry is
	// about 100 bytes.
	maxClients = 50_000
)

// loginStarts limits how often one client may begin a login. Each start costs
// a cookie, and a call of the provider where requests are pushed. A client is
// an IPv4 address or an IPv6 /64, which is what one customer is given.
type loginStarts struct {
	now      func() time.Time
	interval time.Duration // between two starts, in the long run

	mu  sync.Mutex
	due map[netip.Prefix]loginClient
}

// A loginClient is a leaky bucket, as the time when it will be empty.
type loginClient struct {
	empty time.Time
	told  bool // that it has been refused
}

func newLoginStarts(perMinute int, now func() time.Time) *loginStarts {
	return &loginStarts{now: now, interval: time.Minute / time.Duration(perMinute), due: map[netip.Prefix]loginClient{}}
}

// admit counts one start, or says how long the client has to wait, and
// whether that is news.
func (l *loginStarts) admit(address netip.Addr) (wait time.Duration, news bool) {
	bits := 32
	if address.Is6() {
		bits = 64
	}
	client, err := address.WithZone("").Prefix(bits)
	if err != nil { // an address that cannot be told is everybody's
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	c := l.due[client]
	if c.empty.Before(now) {
		c = loginClient{empty: now}
	}
	if wait = c.empty.Add(l.interval).Sub(now) - time.Minute; wait > 0 {
		news = !c.told
		c.told = true
	} else {
		c.empty, c.told = c.empty.Add(l.interval), false
	}
	l.makeRoom(client, now)
	l.due[client] = c
	return max(wait, 0), news
}

// makeRoom drops, when the memory is full, the idlest of a few clients: of
// constant cost, and a flood of addresses mostly drops its own.
func (l *loginStarts) makeRoom(client netip.Prefix, now time.Time) {
	if _, known := l.due[client]; known || len(l.due) < maxClients {
		return
	}
	var idlest netip.Prefix
	var since time.Time
	looked := 0
	for other, c := range l.due { // in random order
		if looked == 0 || c.empty.Before(since) {
			idlest, since = other, c.empty
		}
		if looked++; looked == 8 {
			break
		}
	}
	delete(l.due, idlest)
}

// tooManyLogins reports whether the client of a request has started logins too
// often, and has answered then.
func (b *BFF) tooManyLogins(w http.ResponseWriter, r *http.Request, to string) bool {
	address, err := netip.ParseAddr(b.origins.ClientAddress(r))
	if err != nil {
		return false
	}
	wait, news := b.starts.admit(address)
	if wait == 0 {
		return false
	}
	if news {
		args := []any{"address", address}
		if len(r.Header["X-Forwarded-For"]) > 0 && b.origins.ClientAddress(r) == origins.PeerAddress(r) {
			args = append(args, "remedy", "if this is a proxy of yours, name it in GATEHOUSE_TRUSTED_PROXIES: all people behind it count as one")
		}
		b.logger.WarnContext(r.Context(), "too many logins were started from one address", args...)
	}
	seconds := int(math.Ceil(wait.Seconds()))
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	unit := "seconds"
	if seconds == 1 {
		unit = "second"
	}
	b.respond.Problem(w, r, web.Problem{
		Status:    http.StatusTooManyRequests,
		Title:     "Too many sign-ins at once",
		Message:   fmt.Sprintf("More sign-ins were started from your network than people start by hand. Please wait %d %s and try again.", seconds, unit),
		Detail:    respond.Detail(r),
		Action:    web.Link{Label: "Try again", Href: route.LoginURL(to)},
		Secondary: &web.Link{Label: "Go to the home page", Href: "/"},
	})
	return true
}
