package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// fetchKeys asks the provider for its key set and publishes the answer. It returns how long that answer will do. Whenever
// it fails, the set that is there stays: a provider that is down, or answers {"keys":[]} or a login page, must not sign
// everybody out, and never is there a key that did not come from it (CVE-2026-31837).
func (p *Provider) fetchKeys(ctx context.Context, noCache bool) (time.Duration, error) {
	m := p.metadata.Load()
	if m == nil {
		return 0, errors.New("keys: no metadata yet")
	}
	p.mu.Lock()
	p.started++
	number := p.started
	p.mu.Unlock()

	header := http.Header{}
	have := p.set.Load()
	if have != nil && have.etag != "" && have.uri == m.JWKSURI {
		header.Set("If-None-Match", have.etag)
	}
	if noCache {
		// A cache on the way may go on serving the set from before the rotation that this fetch is to find.
		header.Set("Cache-Control", "no-cache")
	}
	asked := p.now()
	res, err := p.get(ctx, m.JWKSURI, header)
	if err != nil {
		return 0, fmt.Errorf("keys: %w", err)
	}
	var set *keySet
	if res.status == http.StatusNotModified {
		set = have.copy()
	} else {
		var skipped string
		if set, skipped, err = parseKeySet(res.body); err != nil {
			return 0, fmt.Errorf("keys: GET %s: %w", m.JWKSURI, err)
		}
		if skipped != "" {
			p.log.Debug("keys of no use in the provider's set", "keys", skipped)
		}
		set.uri = m.JWKSURI
		if etag := res.header.Get("ETag"); len(etag) <= 256 {
			set.etag = etag
		}
	}
	set.confirmed = asked
	p.publish(number, set)
	return freshness(res.header), nil
}

// publish makes set the current one, unless the answer of a later fetch already is: answers overtake one another.
func (p *Provider) publish(number uint64, set *keySet) {
	defer p.announce()
	p.mu.Lock()
	defer p.mu.Unlock()
	if number < p.published {
		return
	}
	p.published = number
	gone, added := set.inherit(p.set.Load())
	p.set.Store(set)
	// Only now, so that a key is at every moment in the set or withdrawn.
	for _, k := range gone {
		k.withdrawn.Store(true)
	}
	if added {
		p.refetch.forget()
	}
	if added || len(gone) > 0 {
		p.log.Info("provider's keys changed", "keys", len(set.keys), "withdrawn", len(gone))
	}
}

// freshness is the answer's max-age, within bounds: a provider that says a day is still asked every 10 minutes, since it
// may have to withdraw a stolen key.
func freshness(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(h.Get("Cache-Control"), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if !strings.EqualFold(name, "max-age") {
			continue
		}
		if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
			return min(max(time.Duration(seconds)*time.Second, minRefresh), softTTL)
		}
	}
	return softTTL
}
