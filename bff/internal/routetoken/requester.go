package routetoken

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/refresh"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

const (
	// patience bounds how long a browser's request waits for a token.
	patience = 10 * time.Second
	// lead is how long before expiry a token is renewed.
	lead = 60 * time.Second
	// unknownLifetime is that of a token of which neither the provider's answer nor
	// the token itself says when it expires.
	unknownLifetime = 5 * time.Minute
	// refusalPause is the time between two requests because of refusals by the
	// upstream. A token that it refuses within provenAge causes none: an upstream that
	// refuses all tokens would otherwise cause a request to the provider for each.
	refusalPause = 30 * time.Second
	provenAge    = 5 * time.Second
)

// A requester requests the tokens of a route, and examines them.
type requester struct {
	cfg     Config
	route   Route
	key     string
	circuit *refresh.Circuit
	results *metrics.Counter

	mu     sync.Mutex
	logged map[string]time.Time // code → when it was last logged
}

// due reports whether a token expires soon: in 60 s, or after half of a lifetime
// shorter than two minutes.
func (r *requester) due(t session.RouteToken) bool {
	due := t.ExpiresAt.Add(-lead)
	if half := t.ObtainedAt.Add(t.ExpiresAt.Sub(t.ObtainedAt) / 2); half.After(due) {
		due = half
	}
	return !r.cfg.Now().Before(due)
}

// take returns the route token of an answer. Unless its audience is the route's, it is
// of no use: a provider that does not know the parameter answers with the default
// audience (Auth0 without multi-resource refresh tokens), and the upstream would get a
// token for the API.
func (r *requester) take(ctx context.Context, answer session.Tokens) (session.RouteToken, error) {
	t := session.RouteToken{Key: r.key, Access: answer.Access, ObtainedAt: answer.ObtainedAt, ExpiresAt: answer.ExpiresAt}
	known, err := token.ReadUnverified(answer.Access)
	if r.route.Audience != "" {
		problem, remedy := "", ""
		switch {
		case errors.Is(err, token.ErrOpaque):
			problem = "the access token is opaque, so that its audience is not known"
			remedy = "register the audience as an API at the provider, and have it issue JWTs for it"
		case err != nil:
			problem = "the access token cannot be used"
			remedy = "have the provider issue another kind of access token for the audience"
		case !slices.Contains(known.Audience, r.route.Audience):
			problem = "the access token is for " + quoted(known.Audience) + ", not for " + strconv.QuoteToASCII(r.route.Audience)
			remedy = r.remedy()
		}
		if problem != "" {
			err = errors.Join(errors.New(problem), err)
			r.tell(ctx, nil, "audience", "discarded", remedy, err)
			return session.RouteToken{}, err
		}
	}
	// expires_in is by this machine's clock, exp by the provider's.
	if err == nil && t.ExpiresAt.IsZero() {
		t.ExpiresAt = known.Expiry
	}
	if t.ExpiresAt.IsZero() {
		t.ExpiresAt = t.ObtainedAt.Add(unknownLifetime)
	}
	t.ExpiresAt, t.ObtainedAt = t.ExpiresAt.UTC().Truncate(time.Millisecond), t.ObtainedAt.UTC().Truncate(time.Millisecond)
	if !t.ExpiresAt.After(t.ObtainedAt) {
		err := errors.New("the access token has expired already")
		r.tell(ctx, nil, "audience", "discarded", "synchronise this machine's clock (NTP), or the provider's", err)
		return session.RouteToken{}, err
	}
	return t, nil
}

// remedy returns how to have the provider issue tokens for the audience.
func (r *requester) remedy() string {
	switch r.route.Grant {
	case Refresh:
		return "give the audience as access tokens have it; turn on what lets a refresh token serve several APIs " +
			"(Auth0: multi-resource refresh tokens), or request it by scope, or use grant: exchange"
	case Exchange:
		return "give the audience as access tokens have it, and allow its exchange for this client"
	}
	return "give the audience as access tokens have it, and allow this client to request it"
}

// quoted returns the audiences of a token, shortened, for a log line.
func quoted(audiences []string) string {
	const most, longest = 4, 128
	var list []string
	for _, a := range audiences[:min(len(audiences), most)] {
		if len(a) > longest {
			a = a[:longest] + "…"
		}
		list = append(list, strconv.QuoteToASCII(a))
	}
	if len(list) == 0 {
		return "no audience"
	}
	return strings.Join(list, " ")
}

// ask makes a token request that is not a refresh, and returns the token. Its errors are
// a *refresh.Unavailable or a *refresh.Refusal.
func (r *requester) ask(ctx context.Context, id session.ID, request func() (session.Tokens, error)) (session.RouteToken, error) {
	var answer session.Tokens
	class, retryAfter, err := r.circuit.Do(ctx, id, func() (err error) {
		answer, err = request()
		return err
	})
	_, held := errors.AsType[*refresh.Unavailable](err)
	switch {
	case held:
		return session.RouteToken{}, err
	case err != nil:
		return session.RouteToken{}, &refresh.Refusal{Class: class, RetryAfter: retryAfter, Err: err}
	}
	t, err := r.take(ctx, answer)
	if err != nil {
		return session.RouteToken{}, &refresh.Refusal{Err: err}
	}
	return t, nil
}

// clientID returns the id of the client's own requests for the circuit breaker.
func (r *requester) clientID() session.ID { return sha256.Sum256(fmt.Append(nil, "client ", r.key)) }
