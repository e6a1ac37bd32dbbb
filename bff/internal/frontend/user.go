package frontend

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/gatehouse-dev/gatehouse/bff/internal/account"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/web"
)

// visitorKey is the context key of a *session.Session, or of stateUnknown.
type visitorKey struct{}

// withVisitor returns the request with what the embedded pages show of its
// session.
func withVisitor(r *http.Request, s *session.Session, st state) *http.Request {
	switch {
	case s != nil:
		return r.WithContext(context.WithValue(r.Context(), visitorKey{}, s))
	case st == stateUnknown:
		return r.WithContext(context.WithValue(r.Context(), visitorKey{}, stateUnknown))
	}
	return r
}

// Unknown reports whether the store did not answer in time for a request. It
// serves the Unknown field of web.Config.
func Unknown(r *http.Request) bool { return r.Context().Value(visitorKey{}) == stateUnknown }

// User returns what the embedded pages show of the user of a request. It serves
// the User field of web.Config.
func User(r *http.Request) (web.User, bool) {
	s, ok := r.Context().Value(visitorKey{}).(*session.Session)
	if !ok {
		return web.User{}, false
	}
	claims := account.Claims(s)
	text := func(name string) string {
		value, _ := claims[name].(string)
		return value
	}
	idle, latest := s.Ends()
	user := web.User{Name: text("name"), Email: text("email"), Subject: s.Subject, ExpiresAt: latest, IdleExpiresAt: idle}
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		user.Claims = append(user.Claims, web.Claim{Name: name, Value: claimText(claims[name])})
	}
	return user, true
}

// claimText returns the value of a claim as text: objects and arrays as JSON.
func claimText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case map[string]any, []any:
		if text, err := json.Marshal(v); err == nil {
			return string(text)
		}
	}
	return fmt.Sprint(v)
}
