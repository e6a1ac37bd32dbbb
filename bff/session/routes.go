package session

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"
)

// RouteToken is a user's access token for another audience than the API's. It never appears in the
// output of JSON, fmt or slog.
type RouteToken struct {
	// Key says what the token is for. A session has one token for each key.
	Key    string
	Access string `json:"-"`
	// ObtainedAt is when the token was received, ExpiresAt when it expires.
	ObtainedAt, ExpiresAt time.Time
}

// String returns when the token expires, and no token.
func (t RouteToken) String() string {
	return fmt.Sprintf("RouteToken(expires %s)", t.ExpiresAt.UTC().Format(time.RFC3339))
}

// Format writes String for every verb, so that neither %#v nor %x shows the token.
func (t RouteToken) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// LogValue returns String, for log/slog.
func (t RouteToken) LogValue() slog.Value { return slog.StringValue(t.String()) }

// Route returns the route token with this key.
func (d *Data) Route(key string) (t RouteToken, ok bool) {
	for i := range d.Routes {
		if d.Routes[i].Key == key {
			return d.Routes[i], true
		}
	}
	return RouteToken{}, false
}

// WithRoute returns the data with another route token, in place of one with its key, and without
// those that have expired.
func (d Data) WithRoute(t RouteToken, now time.Time) Data {
	routes := make([]RouteToken, 0, len(d.Routes)+1)
	for _, other := range d.Routes {
		if other.Key != t.Key && now.Before(other.ExpiresAt) {
			routes = append(routes, other)
		}
	}
	d.Routes = append(routes, t)
	return d
}

// limitRoutes removes the oldest route tokens until there are at most MaxRoutes, and the data
// without its claims fits into size bytes.
func (d *Data) limitRoutes(size int) {
	if len(d.Routes) <= MaxRoutes && d.size() <= size {
		return
	}
	routes := slices.Clone(d.Routes)
	slices.SortStableFunc(routes, func(a, b RouteToken) int { return b.ObtainedAt.Compare(a.ObtainedAt) })
	d.Routes = routes[:min(len(routes), MaxRoutes)]
	for len(d.Routes) > 0 && d.size() > size {
		d.Routes = d.Routes[:len(d.Routes)-1]
	}
}
