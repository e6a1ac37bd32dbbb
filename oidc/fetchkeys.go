package oidc

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/textfile"
	"github.com/gatehouse-dev/gatehouse/internal/tlsfiles"
)

// fetchKeys fetches and publishes the key set, and returns when to fetch it
// again. If it fails the current set stays: a provider that is down, or responds
// with {"keys":[]} or an HTML page, must not invalidate all tokens. There is no
// built-in key to fall back to (CVE-2026-31837).
func (p *Provider) fetchKeys(ctx context.Context, noCache bool) (_ time.Duration, err error) {
	m := p.metadata.Load()
	if m == nil {
		return 0, errors.New("keys: no metadata yet")
	}
	result := metrics.FetchOK
	defer func() { p.fetched(ctx, metrics.DocumentKeys, result, err) }()
	p.mu.Lock()
	p.started++
	number := p.started
	p.mu.Unlock()

	have := p.set.Load()
	sent := p.now()
	doc, err := p.readKeys(ctx, m, have, noCache)
	if err != nil {
		return 0, fmt.Errorf("keys: %w", err)
	}
	var set *keySet
	if doc.unchanged {
		set, result = have.copy(), metrics.FetchNotModified
	} else {
		var skipped string
		if set, skipped, err = parseKeySet(doc.body); err != nil {
			return 0, fmt.Errorf("keys: %s: %w", doc.source, err)
		}
		if skipped != "" {
			p.log.Debug("unusable keys skipped", "reason", skipped)
		}
		if err := p.fit(set); err != nil {
			return 0, fmt.Errorf("keys: %s: %w", doc.source, err)
		}
		set.uri, set.etag = m.JWKSURI, doc.etag
	}
	set.confirmed = sent
	p.publish(ctx, number, set)
	return doc.fresh, nil
}

// A keyDocument is a key set as it was read.
type keyDocument struct {
	source    string // for errors
	unchanged bool   // it is the set in use; the body is empty
	body      []byte
	etag      string
	fresh     time.Duration
}

// readKeys reads the key set from its address or its file.
func (p *Provider) readKeys(ctx context.Context, m *Metadata, have *keySet, noCache bool) (*keyDocument, error) {
	if p.jwksFile != "" {
		content, err := textfile.Regular(p.jwksFile)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.jwksFile, err)
		}
		sum := sha256.Sum256(content)
		doc := &keyDocument{source: p.jwksFile, body: content, etag: string(sum[:]), fresh: tlsfiles.Interval}
		doc.unchanged = have != nil && have.etag == doc.etag
		return doc, nil
	}
	header := http.Header{}
	if have != nil && have.etag != "" && have.uri == m.JWKSURI {
		header.Set("If-None-Match", have.etag)
	}
	if noCache {
		// A cache on the path may still have the set from before the rotation.
		header.Set("Cache-Control", "no-cache")
	}
	res, err := p.get(ctx, m.JWKSURI, header)
	if err != nil {
		return nil, err
	}
	doc := &keyDocument{source: "GET " + m.JWKSURI, body: res.body, fresh: freshness(res.header)}
	doc.unchanged = res.status == http.StatusNotModified
	if etag := res.header.Get("ETag"); len(etag) <= 256 {
		doc.etag = etag
	}
	return doc, nil
}

// fetched counts a fetch, unless its context has ended it.
func (p *Provider) fetched(ctx context.Context, document, result string, err error) {
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		result = metrics.FetchError
	}
	p.fetches.Add(document, result, p.issuer)
}

// publish makes set the current one, unless it is the response to an earlier
// fetch than the current one: responses can arrive out of order.
func (p *Provider) publish(ctx context.Context, number uint64, set *keySet) {
	defer p.changed.Send()
	if cause := p.replace(number, set); cause != "" {
		m := p.metadata.Load() // there is one: it has the address of the keys
		p.audit.Record(ctx, audit.Event{
			Action: audit.KeySetChanged, Cause: cause, Issuer: m.Issuer, Keys: set.kids(),
		})
	}
}

// replace makes set the current one, and returns why that is a change, "" if it is none.
func (p *Provider) replace(number uint64, set *keySet) audit.Cause {
	p.mu.Lock()
	defer p.mu.Unlock()
	if number < p.published {
		return ""
	}
	p.published = number
	before := p.set.Load()
	gone, added := set.inherit(before)
	set.findSole()
	p.set.Store(set)
	// After the store, so that a key is at all times in the set or withdrawn.
	for _, k := range gone {
		k.withdrawn.Store(true)
	}
	if added {
		p.refetch.forget()
	}
	if !added && len(gone) == 0 {
		return ""
	}
	p.log.Info("provider keys changed", "keys", len(set.keys), "withdrawn", len(gone))
	if before == nil {
		return audit.FirstKeys
	}
	return audit.Rotated
}

// freshness returns the max-age of a response, between minRefresh and softTTL: a
// longer one would delay the withdrawal of a stolen key.
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
