package token

import (
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

const (
	maxKeys    = 256 // members of a key set that are looked at; Entra, the largest known, has about 20
	maxSameKID = 4   // keys tried for one token
)

// signingKey is one usable key. It stays the same object for as long as the provider publishes it, through any number of
// fetches: the cache of verified tokens hangs on that identity.
type signingKey struct {
	id      string
	hasID   bool
	public  *rsa.PublicKey
	retired atomic.Bool // set when the key left the published set, never unset
}

func (k *signingKey) same(other *signingKey) bool {
	return k.hasID == other.hasID && k.id == other.id && k.public.Equal(other.public)
}

// keySet is what the provider published at one time. Nothing in it changes once it is reachable, but for retired.
type keySet struct {
	keys      []*signingKey
	byID      map[string][]*signingKey
	uri       string
	etag      string
	confirmed time.Time // when the provider last said that this is its set
}

// usable says whether the set may still be believed at now: hardTTL after the provider last confirmed it, a key that was
// withdrawn because it was stolen must not work any longer, come what may.
func (s *keySet) usable(now time.Time) bool {
	return s != nil && now.Sub(s.confirmed) < hardTTL
}

// parseKeySet reads a key set, key by key, so that one that is of no use does not spoil the rest. skipped says, for the log,
// what was left out and why. A set without any usable key is an error.
func parseKeySet(body []byte) (set *keySet, skipped string, err error) {
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, "", errors.New("the answer is no key set")
	}
	if len(doc.Keys) > maxKeys {
		return nil, "", fmt.Errorf("%d keys, more than the %d that are accepted", len(doc.Keys), maxKeys)
	}
	set = &keySet{byID: make(map[string][]*signingKey)}
	var reasons []string
	skip := func(i int, why string) {
		if len(reasons) < 8 { // a log line, not a dump
			reasons = append(reasons, fmt.Sprintf("key %d: %s", i, why))
		}
	}
	for i, raw := range doc.Keys {
		k, err := parseKey(raw)
		if err != nil {
			skip(i, err.Error())
			continue
		}
		if set.find(k) != nil {
			continue // the same key twice
		}
		if k.hasID {
			// Two keys of one kid should not be (RFC 7517 §4.5), yet are; each is tried, within reason.
			if len(set.byID[k.id]) == maxSameKID {
				skip(i, "too many keys of one kid")
				continue
			}
			set.byID[k.id] = append(set.byID[k.id], k)
		}
		set.keys = append(set.keys, k)
	}
	skipped = strings.Join(reasons, "; ")
	if len(set.keys) == 0 {
		if skipped == "" {
			return nil, "", errors.New("the key set is empty")
		}
		return nil, "", fmt.Errorf("no usable key in the set: %s", skipped)
	}
	return set, skipped, nil
}

// copy returns an equal set that shares nothing which changes: an answer "not modified" may confirm a set that another
// answer has replaced in the meantime, whose keys are retired for good.
func (s *keySet) copy() *keySet {
	c := &keySet{uri: s.uri, etag: s.etag, byID: make(map[string][]*signingKey, len(s.byID))}
	for _, k := range s.keys {
		k = &signingKey{id: k.id, hasID: k.hasID, public: k.public}
		c.keys = append(c.keys, k)
		if k.hasID {
			c.byID[k.id] = append(c.byID[k.id], k)
		}
	}
	return c
}

func (s *keySet) find(k *signingKey) *signingKey {
	for _, have := range s.keys {
		if have.same(k) {
			return have
		}
	}
	return nil
}

// inherit puts the objects of an earlier set in the place of equal keys, and returns the keys of earlier that are gone,
// and whether any key is new.
func (s *keySet) inherit(earlier *keySet) (gone []*signingKey, added bool) {
	if earlier == nil {
		return nil, true
	}
	kept := make(map[*signingKey]bool, len(s.keys))
	for i, k := range s.keys {
		have := earlier.find(k)
		if have == nil {
			added = true
			continue
		}
		kept[have] = true
		s.keys[i] = have
		for j := range s.byID[k.id] {
			if s.byID[k.id][j] == k {
				s.byID[k.id][j] = have
			}
		}
	}
	for _, k := range earlier.keys {
		if !kept[k] {
			gone = append(gone, k)
		}
	}
	return gone, added
}
