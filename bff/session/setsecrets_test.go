package session_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// Secrets are replaced in processes that run, in any order, and no session is lost.
// A new secret seals when all live processes have it.
func TestSetSecrets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old, fresh := secret(), secret()
		p := sharedPlace(t)
		a, b := p.start(t, []string{old}), p.start(t, []string{old})
		_, before := a.login(t)
		set := func(m *member, secrets ...string) {
			t.Helper()
			if err := m.SetSecrets(t.Context(), secrets); err != nil {
				t.Fatalf("SetSecrets: %v", err)
			}
		}
		sealsWith := func(m *member, want string) {
			t.Helper()
			s, _ := m.login(t)
			if got := p.keyOf(t, s); got != keyID(t, want) {
				t.Errorf("sealed with %v, want %v", got, keyID(t, want))
			}
		}
		set(a, fresh, old)
		sealsWith(a, old)
		time.Sleep(time.Minute)
		sealsWith(a, old) // b lacks it
		set(b, fresh, old)
		sealsWith(b, fresh)
		time.Sleep(time.Minute)
		sealsWith(a, fresh)
		a.load(t, before)
		b.load(t, before)
		_, after := a.login(t)
		set(a, fresh)
		b.load(t, after)
		a.elsewhere(t, before) // its secret is gone here, though it was opened before
		set(b, fresh)
		time.Sleep(time.Second) // a has seen b's keys a moment ago
		a.signedOut(t, before)
		a.load(t, after)
		a.stop(t)
		b.stop(t)
	})
}

// Secrets that no other process has, and weak ones, change nothing.
func TestSetSecretsRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old := secret()
		p := sharedPlace(t)
		a, b := p.start(t, []string{old}), p.start(t, []string{old})
		_, cookie := a.login(t)
		err := a.SetSecrets(t.Context(), []string{secret()})
		if mismatch, ok := errors.AsType[*session.NoSharedSecretError](err); !ok || mismatch.Nodes != 1 {
			t.Errorf("a secret that the other lacks: got %v, want a NoSharedSecretError", err)
		}
		if err := a.SetSecrets(t.Context(), []string{"short"}); err == nil {
			t.Error("a weak secret was accepted")
		}
		a.load(t, cookie)
		b.load(t, cookie)
		a.stop(t)
		b.stop(t)
	})
}

// Where the store belongs to the process, the first secret seals at once, as it does
// if the others are compromised.
func TestSetSecretsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old, fresh := secret(), secret()
		p := sharedPlace(t)
		a := p.start(t, []string{old}, func(c *session.ManagerConfig) { c.SecretsCompromised = true })
		b := p.start(t, []string{old})
		if err := a.SetSecrets(t.Context(), []string{fresh, old}); err != nil {
			t.Fatal(err)
		}
		if s, _ := a.login(t); p.keyOf(t, s) != keyID(t, fresh) {
			t.Error("with SecretsCompromised the old secret still seals")
		}
		a.stop(t)
		b.stop(t)
	})
	f := newFixture(t)
	_, before := f.login(t)
	fresh := secret()
	if err := f.SetSecrets(t.Context(), append([]string{fresh}, f.secrets...)); err != nil {
		t.Fatal(err)
	}
	_, after := f.login(t)
	f.load(t, before)
	if err := f.SetSecrets(t.Context(), []string{fresh}); err != nil {
		t.Fatal(err)
	}
	f.load(t, after)
	f.signedOut(t, before)
}
