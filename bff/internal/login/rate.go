package login

import (
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/internal/clientaddr"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
)

// maxAddresses bounds the remembered addresses, of about 100 bytes each.
const maxAddresses = 50_000

// A Rate limits how often one address may start a login. Each start costs a
// cookie, and a call to the provider where requests are pushed. An address is an
// IPv4 address or an IPv6 /64, which is what one customer is given. A Rate is
// safe for concurrent use.
type Rate struct {
	now      func() time.Time
	interval time.Duration // between two starts, on average

	mu      sync.Mutex
	buckets map[netip.Prefix]bucket
}

// A bucket is a leaky bucket, as the time when it will be empty.
type bucket struct {
	empty time.Time
	told  bool // a start was refused since the last one that was allowed
}

// NewRate returns a Rate of so many starts a minute.
func NewRate(perMinute int, now func() time.Time) *Rate {
	return &Rate{now: now, interval: time.Minute / time.Duration(perMinute), buckets: map[netip.Prefix]bucket{}}
}

// Allow counts one start. If it is refused, Allow returns how long the address
// has to wait, and whether it is the first one to be refused.
func (l *Rate) Allow(address netip.Addr) (wait time.Duration, first bool) {
	bits := 32
	if address.Is6() {
		bits = 64
	}
	client, err := address.WithZone("").Prefix(bits)
	if err != nil { // an unknown address may be that of all browsers
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	c := l.buckets[client]
	if c.empty.Before(now) {
		c = bucket{empty: now}
	}
	if wait = c.empty.Add(l.interval).Sub(now) - time.Minute; wait > 0 {
		first = !c.told
		c.told = true
	} else {
		c.empty, c.told = c.empty.Add(l.interval), false
	}
	l.makeRoom(client)
	l.buckets[client] = c
	return max(wait, 0), first
}

// Len returns the number of remembered addresses.
func (l *Rate) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.buckets)
}

// makeRoom removes the emptiest of a few buckets if there are too many. Its cost
// is constant, and a flood of addresses mostly removes its own.
func (l *Rate) makeRoom(client netip.Prefix) {
	if _, known := l.buckets[client]; known || len(l.buckets) < maxAddresses {
		return
	}
	var emptiest netip.Prefix
	var since time.Time
	looked := 0
	for other, c := range l.buckets { // in random order
		if looked == 0 || c.empty.Before(since) {
			emptiest, since = other, c.empty
		}
		if looked++; looked == 8 {
			break
		}
	}
	delete(l.buckets, emptiest)
}

// limited reports whether the address of a request has started too many logins.
// It then has answered.
func (h *Handlers) limited(w http.ResponseWriter, r *http.Request, to string) bool {
	address, err := netip.ParseAddr(h.cfg.Origins.ClientAddress(r))
	if err != nil {
		return false
	}
	wait, first := h.rate.Allow(address)
	if wait == 0 {
		return false
	}
	h.cfg.Limited.Add(metrics.LimitLoginRate)
	h.cfg.Audit.RecordSampled(r.Context(), audit.Event{Action: audit.RateLimited, Setting: metrics.LimitLoginRate})
	if first {
		attrs := []any{"client", address}
		if len(r.Header["X-Forwarded-For"]) > 0 && address == clientaddr.Peer(r) {
			attrs = append(attrs, "remedy", "if this is a proxy of yours, name it in "+h.cfg.Setting("Access.TrustedProxies")+": all users behind it count as one")
		}
		h.cfg.Logger.WarnContext(r.Context(), "too many logins were started from one address", attrs...)
	}
	seconds := int(math.Ceil(wait.Seconds()))
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	t := h.cfg.Respond.Texts(r)
	p := h.tryAgain(r, to, "rate_limited", http.StatusTooManyRequests, t.Text("login.rate-title"))
	p.Message = t.Text("login.rate", "seconds", strconv.Itoa(seconds))
	h.cfg.Respond.Problem(w, r, p)
	return true
}
