package devidp

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// maxGuests is how many users are kept that were added while the provider runs. The
// one that was used least recently makes room.
const maxGuests = 1000

// shownGuests is how many of them the sign-in page shows, latest first.
const shownGuests = 5

// A directory has the users. It is guarded by the lock of the state that it belongs to.
type directory struct {
	configured []*User
	guests     map[string]*guest // by key
}

// A guest is a user who was added while the provider runs. It is deleted when it has
// not been used for guestLifetime.
type guest struct {
	*User
	expires time.Time
}

// all returns the configured users and, behind them, the guests, latest first.
func (d *directory) all(now time.Time) []*User {
	return slices.Concat(d.configured, d.current(now))
}

// current returns the guests, latest first.
func (d *directory) current(now time.Time) []*User {
	live := slices.DeleteFunc(slices.Collect(maps.Values(d.guests)), func(g *guest) bool { return !now.Before(g.expires) })
	slices.SortFunc(live, func(a, b *guest) int {
		if c := b.expires.Compare(a.expires); c != 0 {
			return c
		}
		return strings.Compare(a.Key, b.Key)
	})
	users := make([]*User, len(live))
	for i, g := range live {
		users[i] = g.User
	}
	return users
}

// find returns the user with a key, or nil. It counts as a use of a guest.
func (d *directory) find(key string, now time.Time) *User {
	if i := slices.IndexFunc(d.configured, func(u *User) bool { return u.Key == key }); i >= 0 {
		return d.configured[i]
	}
	g := d.guests[key]
	if g == nil || !now.Before(g.expires) {
		return nil
	}
	g.expires = now.Add(guestLifetime)
	return g.User
}

// still returns u as it is now: users with the same key and subject are one, also if
// their permissions have changed. It returns nil if there is no such user any more.
func (d *directory) still(u *User, now time.Time) *User {
	if current := d.find(u.Key, now); current != nil && current.Subject == u.Subject {
		return current
	}
	return nil
}

// user returns the user with a key, or nil.
func (s *state) user(key string, now time.Time) *User {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.users.find(key, now)
}

// hinted returns the user whose key, subject or email address is a login_hint, or nil.
func (s *state) hinted(hint string, now time.Time) *User {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.users.all(now) {
		if hint != "" && (hint == u.Key || hint == u.Subject || strings.EqualFold(hint, u.Email)) {
			return u
		}
	}
	return nil
}

// stillUser returns u as it is now, or nil if there is no such user any more.
func (s *state) stillUser(u *User, now time.Time) *User {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.users.still(u, now)
}

// listUsers returns the configured users and the guests, latest first.
func (s *state) listUsers(now time.Time) (configured, guests []*User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.users.configured, s.users.current(now)
}

// addGuest adds a user, or replaces the guest with the same key.
func (s *state) addGuest(u User, now time.Time) (*User, []*problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	added := u.complete()
	others := slices.DeleteFunc(s.users.current(now), func(g *User) bool { return g.Key == u.Key })
	if problems := append(added.problems(), added.checkUnique(slices.Concat(s.users.configured, others))...); len(problems) > 0 {
		return nil, problems
	}
	s.users.guests[added.Key] = &guest{added, now.Add(guestLifetime)}
	if len(s.users.guests) > maxGuests {
		oldest := added.Key
		for key, g := range s.users.guests {
			if g.expires.Before(s.users.guests[oldest].expires) {
				oldest = key
			}
		}
		delete(s.users.guests, oldest)
	}
	return added, nil
}

// configure replaces the configured users, and returns the sessions of those who are
// no longer there. Guests with the key, subject or address of one of them are deleted.
func (s *state) configure(users []*User, now time.Time) (ended []*session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users.configured = users
	maps.DeleteFunc(s.users.guests, func(_ string, g *guest) bool { return len(g.checkUnique(users)) > 0 })
	maps.DeleteFunc(s.sessions, func(_ digest, ses *session) bool {
		if s.users.still(ses.user, now) != nil {
			return false
		}
		ended = append(ended, ses)
		return true
	})
	return ended
}

// Users returns the configured users with their defaults and, behind them, those that
// AddUser has added, latest first.
func (p *Provider) Users() []User {
	configured, guests := p.state.listUsers(p.now())
	var all []User
	for _, u := range slices.Concat(configured, guests) {
		all = append(all, *u.complete())
	}
	return all
}

// AddUser adds a user while the provider runs, and returns it with its defaults. It
// replaces a user that was added before with the same key, but no configured one. At
// most 1,000 are kept, and each until it has not been used for 12 hours.
func (p *Provider) AddUser(u User) (User, error) {
	added, problems := p.state.addGuest(u, p.now())
	if len(problems) > 0 {
		return User{}, joined(problems)
	}
	return *added.complete(), nil
}

// SetUsers replaces the configured users. The changes count from the next token of a
// user on; sessions of users who are no longer there end.
func (p *Provider) SetUsers(users []User) error {
	all, problems := completeUsers(users)
	if len(problems) > 0 {
		return joined(problems)
	}
	for _, ses := range p.state.configure(all, p.now()) {
		p.logouts.notify(ses)
	}
	return nil
}
