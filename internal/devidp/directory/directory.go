// Package directory owns the users and machines of the development provider: what they
// are, which are right, the users file, those that policies make, and users who are
// added while the provider runs. It leaves sessions and tokens to package devidp.
package directory

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxGuests is how many users are kept that were added while the provider runs. The
	// one that was used least recently makes room.
	maxGuests = 1000
	// guestLifetime is how long such a user is kept without a use.
	guestLifetime = 12 * time.Hour
)

// A Directory has the users. It is safe for concurrent use; the zero value has none. The
// users that it returns must not be modified.
type Directory struct {
	mu         sync.Mutex
	configured []*User
	guests     map[string]*guest // by key
}

// A guest is a user who was added while the provider runs.
type guest struct {
	*User
	expires time.Time
}

// Set replaces the configured users, or returns what is wrong with them. Added users
// with the key, subject or address of one of them are deleted.
func (d *Directory) Set(users []User) []*Problem {
	all, problems := completeUsers(users)
	if len(problems) > 0 {
		return problems
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.configured = all
	maps.DeleteFunc(d.guests, func(_ string, g *guest) bool { return len(g.checkUnique(all)) > 0 })
	return nil
}

// Add adds a user, or replaces an added one with the same key. It returns it with its
// defaults, or what is wrong with it.
func (d *Directory) Add(u User, now time.Time) (*User, []*Problem) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.guests, func(_ string, g *guest) bool { return !now.Before(g.expires) })
	added := u.complete()
	others := slices.DeleteFunc(d.added(now), func(g *User) bool { return g.Key == u.Key })
	if problems := append(added.Problems(), added.checkUnique(slices.Concat(d.configured, others))...); len(problems) > 0 {
		return nil, problems
	}
	if d.guests == nil {
		d.guests = map[string]*guest{}
	}
	d.guests[added.Key] = &guest{added, now.Add(guestLifetime)}
	if len(d.guests) > maxGuests {
		oldest := added.Key
		for key, g := range d.guests {
			if g.expires.Before(d.guests[oldest].expires) {
				oldest = key
			}
		}
		delete(d.guests, oldest)
	}
	return added, nil
}

// Configured returns the configured users.
func (d *Directory) Configured() []*User {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.configured)
}

// Added returns the users who were added, latest first.
func (d *Directory) Added(now time.Time) []*User {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.added(now)
}

// All returns the configured users and, behind them, those who were added, latest first.
func (d *Directory) All(now time.Time) []*User {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Concat(d.configured, d.added(now))
}

// added is called with the lock held.
func (d *Directory) added(now time.Time) []*User {
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

// Find returns the user with a key, or nil. It counts as a use of an added user.
func (d *Directory) Find(key string, now time.Time) *User {
	d.mu.Lock()
	defer d.mu.Unlock()
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

// Still returns u as it is now: users with the same key and subject are one, also if
// their permissions have changed. It returns nil if there is no such user any more.
func (d *Directory) Still(u *User, now time.Time) *User {
	if current := d.Find(u.Key, now); current != nil && current.Subject == u.Subject {
		return current
	}
	return nil
}

// Named returns the user with a key or subject, or nil.
func (d *Directory) Named(name string, now time.Time) *User {
	return d.first(now, func(u *User) bool { return name == u.Key || name == u.Subject })
}

// Hinted returns the user whose key, subject or email address is a login_hint, or nil.
func (d *Directory) Hinted(hint string, now time.Time) *User {
	return d.first(now, func(u *User) bool {
		return hint != "" && (hint == u.Key || hint == u.Subject || strings.EqualFold(hint, u.Email))
	})
}

func (d *Directory) first(now time.Time, which func(*User) bool) *User {
	all := d.All(now)
	if i := slices.IndexFunc(all, which); i >= 0 {
		return all[i]
	}
	return nil
}

// KeyFor returns the key of an added user with a name: always the same one, and not that
// of a configured user.
func (d *Directory) KeyFor(name string) string {
	key := slug(name)
	if key == "" {
		sum := sha256.Sum256([]byte(name))
		key = "guest-" + hex.EncodeToString(sum[:4])
	}
	if slices.ContainsFunc(d.Configured(), func(u *User) bool { return u.Key == key }) {
		return "guest-" + key[:min(len(key), 50)]
	}
	return key
}
