package devidp

import "github.com/gatehouse-dev/gatehouse/internal/devidp/directory"

// shownGuests is how many of the users who were added the sign-in page shows, latest
// first.
const shownGuests = 5

// Users returns the configured users with their defaults and, behind them, those that
// AddUser has added, latest first.
func (p *Provider) Users() []directory.User {
	var all []directory.User
	for _, u := range p.users.All(p.now()) {
		all = append(all, u.Copy())
	}
	return all
}

// Machines returns the machines.
func (p *Provider) Machines() []directory.Machine {
	var all []directory.Machine
	for _, c := range p.clients {
		if c.machine != nil {
			all = append(all, *c.machine)
		}
	}
	return all
}

// AddUser adds a user while the provider runs, and returns it with its defaults. It
// replaces a user that was added before with the same key, but no configured one. At
// most 1,000 are kept, and each until it has not been used for 12 hours.
func (p *Provider) AddUser(u directory.User) (directory.User, error) {
	added, problems := p.users.Add(u, p.now())
	if len(problems) > 0 {
		return directory.User{}, directory.Join(problems)
	}
	return added.Copy(), nil
}

// SetUsers replaces the configured users. The changes count from the next token of a
// user on; sessions of users who are no longer there end.
func (p *Provider) SetUsers(users []directory.User) error {
	if problems := p.users.Set(users); len(problems) > 0 {
		return directory.Join(problems)
	}
	now := p.now()
	for _, ses := range p.state.endSessions(func(u *directory.User) bool { return p.users.Still(u, now) == nil }) {
		p.logouts.notify(ses)
	}
	return nil
}
