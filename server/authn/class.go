package authn

import "fmt"

// A Class is the kind of callers that an issuer's tokens stand for. The policy of a
// method says which classes may call it.
type Class int

// The classes.
const (
	// Users are people, and the clients that call with a token of their own at the
	// issuer of the users.
	Users Class = iota
	// Machines are programs of another system, such as the jobs of a build service. Its
	// operators, not those of this server, decide what its tokens say, so a machine has
	// only the permissions that [Grant] gives.
	Machines
)

// String returns "users" or "machines".
func (c Class) String() string {
	if c == Machines {
		return "machines"
	}
	return "users"
}

// UnmarshalText reads "users" or "machines".
func (c *Class) UnmarshalText(text []byte) error {
	for _, class := range []Class{Users, Machines} {
		if string(text) == class.String() {
			*c = class
			return nil
		}
	}
	return fmt.Errorf("is no class of callers; give %v or %v", Users, Machines)
}
