package directory

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// A User is a person who can be signed in. Only Key is required.
type User struct {
	// Key names the user on the sign-in page, in login_hint and in tests: letters,
	// digits, ".", "_" and "-".
	Key string
	// Subject is the sub claim. Default: "dev|" and the key.
	Subject string
	// Name is the full name. Default: given and family name, or else the key.
	Name string
	// GivenName and FamilyName default to the words of Name.
	GivenName  string
	FamilyName string
	// Email is a verified address, or NoEmail. Default: the key at example.com.
	Email string
	// Role and About are shown on the sign-in page. They are in no token.
	Role  string
	About string
	// Permissions is the permissions claim. A scope with the name of a permission is
	// granted on request.
	Permissions []string
	// Scopes are further scopes that are granted on request.
	Scopes []string
	// ACR are the authentication contexts that a sign-in reaches: the first one
	// without a request, the others if acr_values has them. Default: none without a
	// request, and each one on request.
	ACR []string
	// Claims are further claims of ID tokens, access tokens and userinfo responses.
	// Claims of the protocol, such as iss, cannot be set.
	Claims map[string]any
}

// NoEmail is the Email of a user without an address: there is no claim.
const NoEmail = "none"

// A Machine is a client with the client credentials grant only (RFC 6749 §4.4).
type Machine struct {
	ID     string // client_id, and the subject of its tokens
	Secret string // client_secret

	// Class is ClassUsers, which is the default, or ClassMachines.
	Class string
	// Permissions is the permissions claim. A scope with the name of a permission may
	// be requested.
	Permissions []string
	// Scopes are further scopes that may be requested. They are granted if none is.
	Scopes []string
}

// The classes of machines. The tokens of ClassUsers are those of the provider's own
// issuer, as those of users are; the tokens of ClassMachines are of an issuer of
// machines, and have no permissions of their own.
const (
	ClassUsers    = "users"
	ClassMachines = "machines"
)

// A Field is a field of a User or Machine: its name in the users file and in the HTTP
// API, and a pointer to the value.
type Field struct {
	Name  string
	Value any
}

// Fields returns the fields besides the key, in the order of messages.
func (u *User) Fields() []Field {
	return []Field{
		{"name", &u.Name}, {"given_name", &u.GivenName}, {"family_name", &u.FamilyName}, {"email", &u.Email}, {"subject", &u.Subject},
		{"role", &u.Role}, {"about", &u.About}, {"permissions", &u.Permissions}, {"scopes", &u.Scopes}, {"acr", &u.ACR}, {"claims", &u.Claims},
	}
}

// Fields returns the fields besides the id, in the order of messages.
func (m *Machine) Fields() []Field {
	return []Field{{"secret", &m.Secret}, {"class", &m.Class}, {"permissions", &m.Permissions}, {"scopes", &m.Scopes}}
}

// PolicyValues are what the policies of the application's methods name.
type PolicyValues struct {
	Permissions, Scopes, ACRValues []string
}

// A Problem is what is wrong with a User or a Machine.
type Problem struct {
	Kind  string // "user" or "machine"
	Key   string
	Field string // the name of a Field; "" for the key
	Text  string // with the value and, behind "; ", the remedy
}

func (p *Problem) Error() string {
	return strings.TrimSuffix(fmt.Sprintf("%s %q: %s", p.Kind, p.Key, p.Field), " ") + " " + p.Text
}

// The longest text of a user and the most JSON of its lists and claims, in bytes: they
// have to fit into tokens, which the other parts limit to 16 KiB.
const (
	maxText   = 512
	maxClaims = 8 << 10
)

var keyForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// PermissionsClaim is the claim of access tokens with the permissions.
const PermissionsClaim = "permissions"

// fieldOfClaim has the claims that have a field of their own, or that the protocol
// sets, with the name of the field.
var fieldOfClaim = map[string]string{
	"sub": "subject", "name": "name", "given_name": "given_name", "family_name": "family_name", "email": "email",
	PermissionsClaim: "permissions", "scope": "scopes", "scp": "scopes", "acr": "acr",
	"iss": "", "aud": "", "exp": "", "nbf": "", "iat": "", "jti": "", "nonce": "", "auth_time": "", "azp": "", "client_id": "",
	"sid": "", "at_hash": "", "c_hash": "", "s_hash": "", "events": "", "cnf": "", "typ": "", "token_use": "",
}

// complete returns a copy of u with its defaults.
func (u User) complete() *User {
	u.Subject = cmp.Or(u.Subject, "dev|"+u.Key)
	u.Email = cmp.Or(u.Email, u.Key+"@example.com")
	u.Name = cmp.Or(u.Name, strings.TrimSpace(u.GivenName+" "+u.FamilyName), titled(u.Key))
	if u.GivenName == "" && u.FamilyName == "" {
		u.GivenName = u.Name
		if i := strings.LastIndexByte(u.Name, ' '); i > 0 {
			u.GivenName, u.FamilyName = u.Name[:i], u.Name[i+1:]
		}
	}
	u.Permissions = append([]string{}, u.Permissions...) // the claim is a list also if it is empty
	u.Scopes, u.ACR, u.Claims = slices.Clone(u.Scopes), slices.Clone(u.ACR), maps.Clone(u.Claims)
	return &u
}

// Copy returns a copy that shares nothing with u but what is in Claims.
func (u *User) Copy() User { return *u.complete() }

// titled returns the words of a key with capitals.
func titled(key string) string {
	words := strings.FieldsFunc(key, func(r rune) bool { return strings.ContainsRune("._-", r) })
	for i, word := range words {
		first, size := utf8.DecodeRuneInString(word)
		words[i] = string(unicode.ToUpper(first)) + word[size:]
	}
	return strings.Join(words, " ")
}

// Problems returns what is wrong with a user for itself.
func (u *User) Problems() (all []*Problem) {
	add := func(field, format string, args ...any) {
		all = append(all, &Problem{"user", u.Key, field, fmt.Sprintf(format, args...)})
	}
	if !keyForm.MatchString(u.Key) {
		add("", "is not a key; write at most 64 letters, digits, dots, hyphens and underscores")
	}
	for _, f := range u.Fields() {
		what := ""
		switch value := f.Value.(type) {
		case *string:
			what = textProblem(*value)
		case *[]string:
			what = listProblem(*value, f.Name != "permissions")
		}
		if what != "" {
			add(f.Name, "%s", what)
		}
	}
	if name, host, _ := strings.Cut(u.Email, "@"); u.Email != "" && u.Email != NoEmail && (name == "" || host == "" || strings.ContainsAny(u.Email, " <>,")) {
		add("email", "%q is not an address; write one such as %s@example.com, or %s", u.Email, u.Key, NoEmail)
	}
	for _, claim := range slices.Sorted(maps.Keys(u.Claims)) {
		switch field, reserved := fieldOfClaim[claim]; {
		case claim == "" || textProblem(claim) != "":
			add("claims", "%.80q is not the name of a claim", claim)
		case field != "":
			add("claims", "cannot have %s; write it as %s of the user", claim, field)
		case reserved:
			add("claims", "cannot have %s, which the provider sets; leave it out", claim)
		}
	}
	claims, err := json.Marshal(struct {
		Permissions, Scopes []string
		Claims              map[string]any
	}{u.Permissions, u.Scopes, u.Claims})
	switch {
	case err != nil:
		add("claims", "cannot be written as JSON; use texts, numbers, lists and maps with texts as keys")
	case len(claims) > maxClaims:
		add("claims", "and lists have %d bytes, which do not fit into a token; write at most %d", len(claims), maxClaims)
	}
	return all
}

// textProblem returns what is wrong with a text, or "".
func textProblem(text string) string {
	switch {
	case len(text) > maxText:
		return fmt.Sprintf("has %d bytes; write at most %d", len(text), maxText)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return fmt.Sprintf("%q has control characters; write a line of text", text)
	}
	return ""
}

// listProblem returns what is wrong with the values of a list, or "". Words are scope
// tokens (RFC 6749 §3.3): acr_values are separated by spaces too.
func listProblem(items []string, words bool) string {
	for i, item := range items {
		switch what := textProblem(item); {
		case what != "":
			return what
		case strings.TrimSpace(item) == "":
			return "has an empty value; leave it out"
		case words && strings.ContainsFunc(item, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }):
			return fmt.Sprintf("%q has characters that this value cannot have; write ASCII without spaces, quotes and backslashes, one value an item", item)
		case slices.Contains(items[:i], item):
			return fmt.Sprintf("%q is given twice; leave one out", item)
		}
	}
	return ""
}

// checkUnique returns what u has in common with one of the others.
func (u *User) checkUnique(others []*User) (all []*Problem) {
	for _, other := range others {
		for _, f := range []struct{ field, value, others string }{
			{"", u.Key, other.Key}, {"subject", u.Subject, other.Subject}, {"email", strings.ToLower(u.Email), strings.ToLower(other.Email)},
		} {
			if f.value == f.others && (f.field != "email" || f.value != NoEmail) {
				all = append(all, &Problem{"user", u.Key, f.field, fmt.Sprintf("is that of user %q too; give each user a different one", other.Key)})
			}
		}
	}
	return all
}

// completeUsers returns users with their defaults, and everything that is wrong with
// them.
func completeUsers(users []User) (all []*User, problems []*Problem) {
	for _, u := range users {
		c := u.complete()
		problems = append(append(problems, c.Problems()...), c.checkUnique(all)...)
		all = append(all, c)
	}
	return all, problems
}

// Join returns problems as one error, or nil.
func Join(problems []*Problem) error {
	var errs []error
	for _, p := range problems {
		errs = append(errs, fmt.Errorf("devidp: %w", p))
	}
	return errors.Join(errs...)
}

// StandardScopes are granted to all users.
var StandardScopes = []string{oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail, oidc.ScopeOfflineAccess}

// Granted returns the requested scopes that u is granted. An API scope needs
// the permission of the same name, or is one of the user's scopes.
func (u *User) Granted(asked []string) []string {
	var granted []string
	for _, s := range asked {
		if slices.Contains(slices.Concat(StandardScopes, u.Permissions, u.Scopes), s) && !slices.Contains(granted, s) {
			granted = append(granted, s)
		}
	}
	return granted
}

// AllScopes returns all scopes that u can be granted.
func (u *User) AllScopes() []string {
	return u.Granted(slices.Concat(StandardScopes, u.Permissions, u.Scopes))
}

// Reach returns the authentication context of a sign-in: the first requested one that
// u reaches, or without a request the first one of u. A user without any reaches every
// requested one, so that step-up authentication (RFC 9470) can be tried.
func (u *User) Reach(requested []string) (acr string, reached bool) {
	switch {
	case len(requested) == 0 && len(u.ACR) == 0:
		return "", true
	case len(requested) == 0:
		return u.ACR[0], true
	case len(u.ACR) == 0:
		return requested[0], true
	}
	i := slices.IndexFunc(requested, func(acr string) bool { return slices.Contains(u.ACR, acr) })
	if i < 0 {
		return "", false
	}
	return requested[i], true
}

// machineProblems returns what is wrong with machines for themselves.
func machineProblems(machines []Machine) (all []*Problem) {
	for _, m := range machines {
		add := func(field, what string) {
			if what != "" {
				all = append(all, &Problem{"machine", m.ID, field, what})
			}
		}
		add("", textProblem(m.ID))
		if m.Class != "" && m.Class != ClassUsers && m.Class != ClassMachines {
			add("class", fmt.Sprintf("%.80q is none; write %s or %s", m.Class, ClassUsers, ClassMachines))
		}
		if m.Class == ClassMachines && strings.Contains(m.ID, "*") {
			add("", "has a *, which would stand for other ids; write one such as importer")
		}
		add("permissions", listProblem(m.Permissions, false))
		add("scopes", listProblem(m.Scopes, true))
		if m.ID == "" {
			add("", "has no id; write one such as importer")
		}
	}
	return all
}
