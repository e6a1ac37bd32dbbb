package oidc_test

import (
	"context"
	"slices"
	"testing"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// The first set of keys and each change of it are recorded, and nothing between.
func TestAudit(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewIssuer(t)
	var events []audit.Event
	p, err := oidc.NewProvider(oidc.Config{Issuer: issuer.URL, HTTPClient: issuer.Client(), Audit: func(_ context.Context, e audit.Event) error {
		events = append(events, e)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	refresh := func() {
		t.Helper()
		if err := p.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	refresh()
	refresh()
	first := kidOf(issuer.Key())
	second := kidOf(issuer.Rotate())
	refresh()
	refresh()
	if len(events) != 2 || events[0].Cause != audit.FirstKeys || events[1].Cause != audit.Rotated {
		t.Fatalf("events %+v, want the first keys and their rotation", events)
	}
	for i, want := range [][]string{{first}, {first, second}} {
		e := events[i]
		slices.Sort(want)
		if e.Action != audit.KeySetChanged || e.Part != "provider" || e.Issuer != issuer.URL || !slices.Equal(e.Keys, want) {
			t.Errorf("event %+v, want keys %q", e, want)
		}
	}
}

func kidOf(k *tokentest.Key) string {
	id, _ := k.JWK()["kid"].(string)
	return id
}
