package gatehousetest

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
)

// A Fault is what goes wrong at the provider or at the session store. Only Kind is required.
type Fault struct {
	Kind FaultKind
	// User is the key of the user whose requests fail. "" means all requests. Faults of the store
	// are for all users.
	User string
	// Times is the number of requests that fail, or of calls of the store. 0 means all.
	Times int
	// Delay is how late the answer is, in real time: of ProviderSlow and StoreSlow, which require
	// it.
	Delay time.Duration
	// Error is the OAuth error of RefreshRefused. Default: invalid_grant.
	Error string
	// Status is the HTTP status of RefreshRefused, ProviderDown and UserinfoDown. Default: the
	// usual one of Error, 503 and 500.
	Status int
	// RetryAfter is the header Retry-After of RefreshRefused and ProviderDown, in whole seconds.
	// Default: none.
	RetryAfter time.Duration
}

// A FaultKind is the kind of a Fault.
type FaultKind string

// The kinds of faults.
const (
	// StoreDown fails all calls of the session store.
	StoreDown FaultKind = "store-down"
	// StoreSlow delays them.
	StoreSlow FaultKind = "store-slow"
	// ProviderDown answers every request with an error status.
	ProviderDown FaultKind = "provider-down"
	// ProviderUnreachable closes the connection of every request without an answer.
	ProviderUnreachable FaultKind = "provider-unreachable"
	// ProviderSlow delays the answers about codes and refresh tokens.
	ProviderSlow FaultKind = "provider-slow"
	// RefreshRefused refuses to renew access tokens.
	RefreshRefused FaultKind = "refresh-refused"
	// RefreshLost renews them, and closes the connection without an answer.
	RefreshLost FaultKind = "refresh-lost"
	// UserinfoDown answers userinfo requests with an error status.
	UserinfoDown FaultKind = "userinfo-down"
)

// providerFaults are the kinds of faults of the provider.
var providerFaults = map[FaultKind]devidp.FaultKind{
	ProviderDown: devidp.Down, ProviderUnreachable: devidp.Disconnect, ProviderSlow: devidp.Slow,
	RefreshRefused: devidp.RefuseRefresh, RefreshLost: devidp.LoseRefresh, UserinfoDown: devidp.FailUserinfo,
}

// Break puts a fault into effect, until heal is called or the test ends. It replaces a fault of the
// provider of the same kind for the same user. The bff does not ask a provider again at once that
// has failed: advance the clock by a few minutes after heal.
func (s *System) Break(t testing.TB, f Fault) (heal func()) {
	t.Helper()
	switch kind, ok := providerFaults[f.Kind]; {
	case ok:
		heal = s.breakProvider(t, f, kind)
	case f.Kind == StoreDown || f.Kind == StoreSlow:
		heal = s.breakStore(t, f)
	default:
		t.Fatalf("gatehousetest: break: there is no fault %q; give one of %s, %s, %v", f.Kind, StoreDown, StoreSlow, slices.Sorted(maps.Keys(providerFaults)))
	}
	t.Cleanup(heal)
	return heal
}

func (s *System) breakStore(t testing.TB, f Fault) (heal func()) {
	t.Helper()
	switch {
	case s.run.Sessions != s.store:
		t.Fatalf("gatehousetest: break %s: the setting session-store names another store, which a test cannot break", f.Kind)
	case (f.Kind == StoreSlow) != (f.Delay > 0) || f.Times < 0:
		t.Fatalf("gatehousetest: break %s: Delay is %v and Times %d; give a Delay to %s alone, and Times that are not negative", f.Kind, f.Delay, f.Times, StoreSlow)
	case f.User != "" || f.Error != "" || f.Status != 0 || f.RetryAfter != 0:
		t.Fatalf("gatehousetest: break %s: only Times and Delay have an effect; leave out the other fields", f.Kind)
	}
	return s.store.add(f.Delay, f.Times)
}

func (s *System) breakProvider(t testing.TB, f Fault, kind devidp.FaultKind) (heal func()) {
	t.Helper()
	err := s.run.Provider.Fail(devidp.Fault{
		Kind: kind, User: f.User, Times: f.Times, Error: f.Error, Status: f.Status, RetryAfter: f.RetryAfter, Delay: f.Delay,
	})
	if err != nil {
		t.Fatalf("gatehousetest: break %s: %v", f.Kind, err)
	}
	return func() {
		t.Helper()
		if _, err := s.run.Provider.Heal(f.User, kind); err != nil {
			t.Errorf("gatehousetest: heal %s: %v", f.Kind, err)
		}
	}
}

// LogOut ends all sessions of a user at the provider, by the user's key; "" means all users. It
// returns when the application has been told by back-channel logout, and its sessions have ended.
func (s *System) LogOut(t testing.TB, user string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second) // in a Cleanup, too
	defer cancel()
	if _, err := s.run.Provider.LogOut(ctx, user); err != nil {
		t.Fatalf("gatehousetest: log out %q: %v", user, err)
	}
}

// RotateKeys makes the provider sign with a new key, which it publishes beside the others.
func (s *System) RotateKeys(t testing.TB) {
	t.Helper()
	if err := s.run.Provider.RotateKeys(); err != nil {
		t.Fatalf("gatehousetest: rotate keys: %v", err)
	}
}

// WithdrawKeys makes the provider publish its newest key alone, as after the theft of a key.
func (s *System) WithdrawKeys() { s.run.Provider.WithdrawKeys() }
