package devidp

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

// controls are the behavior and the faults of a provider.
type controls struct {
	initial Behavior

	mu      sync.Mutex
	current Behavior
	faults  []*activeFault // at most one for each kind and user
}

// An activeFault is a fault in effect.
type activeFault struct {
	Fault
	left    int           // requests that still fail, if Times is not 0
	delayed int           // requests that wait because of it
	healed  chan struct{} // closed when it is healed or replaced
}

// isSpent reports whether no further request fails.
func (f *activeFault) isSpent() bool { return f.Times > 0 && f.left == 0 }

func (c *controls) behavior() Behavior {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

// active returns the faults in effect, oldest first. Their Times are the requests that
// are left.
func (c *controls) active() []Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Fault
	for _, f := range c.faults {
		if !f.isSpent() {
			now := f.Fault
			now.Times = f.left
			all = append(all, now)
		}
	}
	return all
}

func (c *controls) add(f Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(func(old Fault) bool { return old.Kind == f.Kind && old.User == f.User })
	if len(c.faults) >= maxFaults { // of users who are no longer there
		close(c.faults[0].healed)
		c.faults = c.faults[1:]
	}
	c.faults = append(c.faults, &activeFault{Fault: f, left: f.Times, healed: make(chan struct{})})
}

// heal removes the faults for which which returns true, and returns their number.
func (c *controls) heal(which func(Fault) bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.remove(which)
}

// remove is heal with the lock held.
func (c *controls) remove(which func(Fault) bool) (n int) {
	c.faults = slices.DeleteFunc(c.faults, func(f *activeFault) bool {
		if !which(f.Fault) {
			return false
		}
		close(f.healed)
		n++
		return true
	})
	return n
}

// take returns the fault of a kind that a request of a user has to suffer, one for the
// user before one for all; nil if there is none.
func (c *controls) take(kind FaultKind, user string) *activeFault {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found *activeFault
	for _, f := range c.faults {
		if f.Kind == kind && !f.isSpent() && (f.User == "" && found == nil || f.User != "" && f.User == user) {
			found = f
		}
	}
	if found == nil {
		return nil
	}
	if found.Times > 0 {
		found.left--
	}
	if kind == Slow {
		found.delayed++ // it stays until the delay is over
	} else {
		c.removeSpent()
	}
	return found
}

// removeSpent is called with the lock held.
func (c *controls) removeSpent() {
	c.faults = slices.DeleteFunc(c.faults, func(f *activeFault) bool { return f.isSpent() && f.delayed == 0 })
}

// delay waits as long as the fault says, or until it is healed or ctx ends.
func (c *controls) delay(ctx context.Context, f *activeFault) {
	timer := time.NewTimer(f.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.healed:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f.delayed--
	c.removeSpent()
}

// suffer returns a handler of the protocol's endpoints that fails as the faults say.
func (rl *realm) suffer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(rl.controls.active()) == 0 {
			next.ServeHTTP(w, r)
			return
		}
		user := rl.userOf(r)
		isToken := r.URL.Path == pathToken
		isRefresh := isToken && r.PostForm.Get("grant_type") == "refresh_token"
		if isToken {
			if f := rl.controls.take(Slow, user); f != nil {
				rl.controls.delay(r.Context(), f)
			}
		}
		if rl.controls.take(Disconnect, user) != nil {
			panic(http.ErrAbortHandler)
		}
		if f := rl.controls.take(Down, user); f != nil {
			retryAfter(w, f)
			rl.pages.message(w, r, f.Status, "The provider is down",
				"This failure was switched on at the provider's page or by its HTTP API.")
			return
		}
		if isRefresh {
			if f := rl.controls.take(RefuseRefresh, user); f != nil {
				retryAfter(w, f)
				writeJSON(w, f.Status, map[string]string{"error": f.Error, "error_description": "the development provider was told to refuse"})
				return
			}
			if rl.controls.take(LoseRefresh, user) != nil {
				next.ServeHTTP(discard{}, r)
				panic(http.ErrAbortHandler)
			}
		}
		if r.URL.Path == pathUserinfo {
			if f := rl.controls.take(FailUserinfo, user); f != nil {
				writeJSON(w, f.Status, map[string]string{"error": "server_error", "error_description": "the development provider was told to fail"})
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func retryAfter(w http.ResponseWriter, f *activeFault) {
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(f.RetryAfter/time.Second)))
	}
}

// discard is a response that is lost.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

// userOf returns the key of the user that a request of the protocol is about, as far
// as the provider can tell; "" for none.
func (rl *realm) userOf(r *http.Request) string {
	var u *directory.User
	switch r.URL.Path {
	case pathToken, pathRevoke:
		_ = r.ParseForm() // the handler fails if the form cannot be read
		for _, name := range []string{"code", "refresh_token", "token"} {
			if secret := r.PostForm.Get(name); secret != "" && u == nil {
				u = rl.state.owner(secret)
			}
		}
	case pathUserinfo:
		_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		u = rl.state.owner(token)
	default:
		if key, ok := strings.CutPrefix(r.FormValue("login_hint"), hintAs); ok {
			return key
		}
		if ses := rl.session(r); ses != nil {
			u = ses.user
		}
	}
	if u == nil {
		return ""
	}
	return u.Key
}

// userNamed returns the user with a key or subject.
func (rl *realm) userNamed(name string) (*directory.User, error) {
	if u := rl.users.Named(name, rl.now()); u != nil {
		return u, nil
	}
	return nil, rl.unknownUser("User", name)
}

// unknownUser returns the error about a value that names no user. It lists the keys of
// all users.
func (rl *realm) unknownUser(field, name string) error {
	var keys []string
	for _, u := range rl.users.All(rl.now()) {
		keys = append(keys, u.Key)
	}
	return unknown(field, name, keys)
}

// only returns a function that reports whether a user is the named one, always true
// for the name "".
func (rl *realm) only(name string) (func(*directory.User) bool, error) {
	if name == "" {
		return func(*directory.User) bool { return true }, nil
	}
	u, err := rl.userNamed(name)
	return func(other *directory.User) bool { return u != nil && other.Key == u.Key }, err
}

// Behavior returns the current behavior.
func (p *Provider) Behavior() Behavior { return p.controls.behavior() }

// SetBehavior changes the behavior. Fields with the zero value get their default.
func (p *Provider) SetBehavior(b Behavior) error {
	return p.changeBehavior(func(current *Behavior) { *current = b })
}

// changeBehavior has change modify the current behavior.
func (p *Provider) changeBehavior(change func(*Behavior)) error {
	p.controls.mu.Lock()
	defer p.controls.mu.Unlock()
	b := p.controls.current
	change(&b)
	b, err := b.normalize()
	if err == nil {
		p.controls.current = b
	}
	return err
}

// Faults returns the faults in effect, oldest first. Their Times are the requests that
// have yet to fail.
func (p *Provider) Faults() []Fault { return p.controls.active() }

// Fail adds a fault. It replaces one of the same kind and user.
func (p *Provider) Fail(f Fault) error {
	f, err := f.normalize()
	if f.User != "" {
		u, unknown := p.userNamed(f.User)
		if err = errors.Join(err, unknown); unknown == nil {
			f.User = u.Key
		}
	}
	if err != nil {
		return err
	}
	p.controls.add(f)
	return nil
}

// Heal removes the faults of these kinds that are for a user only, or for "" those
// that are for all users. No kind means all kinds. It returns their number.
func (p *Provider) Heal(user string, kinds ...FaultKind) (int, error) {
	if user != "" {
		u, err := p.userNamed(user)
		if err != nil {
			return 0, err
		}
		user = u.Key
	}
	for _, k := range kinds {
		if !slices.Contains(faultKinds, k) {
			return 0, unknown("Kind", k, faultKinds)
		}
	}
	return p.controls.heal(func(f Fault) bool {
		return f.User == user && (len(kinds) == 0 || slices.Contains(kinds, f.Kind))
	}), nil
}

// Reset removes all faults, and restores the behavior with which the provider was
// started. Users, sessions and keys stay.
func (p *Provider) Reset() {
	p.controls.heal(func(Fault) bool { return true })
	p.controls.mu.Lock()
	defer p.controls.mu.Unlock()
	p.controls.current = p.controls.initial
}

// RotateKeys publishes a new key, which signs from now on, beside the others.
func (p *Provider) RotateKeys() error { return p.signing.add() }

// WithdrawKeys withdraws all keys but the newest. Tokens that they have signed are
// then invalid.
func (p *Provider) WithdrawKeys() { p.signing.withdraw() }

// LogOut ends all sessions at the provider, or those of the user with a key or subject,
// and sends a logout token to each client of each. It returns their number, and waits
// until the clients have responded or ctx ends.
func (p *Provider) LogOut(ctx context.Context, user string) (int, error) {
	which, err := p.only(user)
	if err != nil {
		return 0, err
	}
	ended := p.state.endSessions(which)
	var sent []<-chan error
	for _, ses := range ended {
		sent = append(sent, p.logouts.notify(ses)...)
	}
	for _, result := range sent {
		select {
		case failed := <-result:
			err = errors.Join(err, failed)
		case <-ctx.Done():
			return len(ended), errors.Join(err, ctx.Err())
		}
	}
	return len(ended), err
}

// RevokeTokens revokes the refresh tokens of all users, or of the user with a key or
// subject, and the access tokens that belong to the same sign-ins. It returns the
// number of sign-ins.
func (p *Provider) RevokeTokens(user string) (int, error) {
	which, err := p.only(user)
	if err != nil {
		return 0, err
	}
	return p.state.revokeAll(which), nil
}
