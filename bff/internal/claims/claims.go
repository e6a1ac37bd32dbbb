// Package claims owns the claims of a session: what of them the application has decided at
// the sign-in, what a refresh replaces, and what users and pages are shown. It leaves
// their verification to internal/token, and storing them to bff/session.
package claims

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// MaxDecided bounds what an application adds to the claims of a session, in bytes of JSON.
const MaxDecided = 16 << 10

// decidedClaim is the claim of a session that names those that the application has decided:
// it has set them, or removed them. Sessions without such claims do not have it.
const decidedClaim = "gatehouse_decided_claims"

// fixed are the claims that identify the user and the provider's session. With
// token.ProtocolClaims they are those that an application cannot change.
var fixed = []string{"sub", "sid"}

// Provided returns the claims of a provider without the one that only the bff may set.
func Provided(all map[string]any) map[string]any {
	delete(all, decidedClaim)
	return all
}

// Copy returns a copy that shares nothing with all. Numbers become json.Number.
func Copy(all map[string]any) (map[string]any, error) {
	raw, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	return decode(raw)
}

func decode(raw []byte) (all map[string]any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	err = decoder.Decode(&all)
	return all, err
}

// Decide returns the claims of a session: those of the provider, as the application has
// changed them in decided. secret is a text that no claim may contain, because browsers and
// pages see claims.
func Decide(provided, decided map[string]any, secret string) (map[string]any, error) {
	var names []string
	size := 0
	for name, value := range decided {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("claim %q cannot be encoded as JSON", name) // the error could quote it
		}
		if old, ok := provided[name]; ok && equal(old, raw) {
			continue
		}
		if secret != "" && (bytes.Contains(raw, []byte(secret)) || strings.Contains(name, secret)) {
			return nil, errors.New("a claim contains the access token, which browsers must not get")
		}
		names = append(names, name)
		size += len(name) + len(raw)
	}
	for name := range provided {
		if _, kept := decided[name]; !kept {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if name == decidedClaim || slices.Contains(fixed, name) || slices.Contains(token.ProtocolClaims, name) {
			return nil, fmt.Errorf("claim %q cannot be changed", name)
		}
	}
	if size > MaxDecided {
		return nil, fmt.Errorf("the claims that were changed have %d bytes of JSON, more than %d", size, MaxDecided)
	}
	if len(names) == 0 {
		return provided, nil
	}
	all := maps.Clone(decided)
	all[decidedClaim] = names
	return Copy(all)
}

// equal reports whether a value has this JSON.
func equal(value any, raw []byte) bool {
	other, err := json.Marshal(value)
	return err == nil && bytes.Equal(other, raw)
}

// Refreshed returns the claims of a session after a refresh: the old ones, replaced by
// those of the fresh ID token except where the application has decided.
func Refreshed(old, fresh map[string]any) map[string]any {
	all := make(map[string]any, len(old)+len(fresh))
	maps.Copy(all, old)
	maps.Copy(all, Provided(fresh))
	names, _ := old[decidedClaim].([]any) // as it is read from a store, and as Copy returns it
	for _, name := range names {
		name, _ := name.(string)
		if value, set := old[name]; set {
			all[name] = value
		} else {
			delete(all, name)
		}
	}
	return all
}

// Shown returns a copy of the claims that describe the user: those that nextjs-auth0
// returns.
func Shown(all map[string]any) map[string]any {
	shown := maps.Clone(all)
	delete(shown, decidedClaim)
	for _, name := range token.ProtocolClaims {
		delete(shown, name)
	}
	return shown
}
