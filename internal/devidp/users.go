package devidp

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
	Key string `json:"key"`
	// Subject is the sub claim. Default: "dev|" and the key.
	Subject string `json:"subject,omitempty"`
	// Name is the full name. Default: given and family name, or else the key.
	Name string `json:"name,omitempty"`
	// GivenName and FamilyName default to the words of Name.
	GivenName  string `json:"given_name,omitempty"`
	FamilyName string `json:"family_name,omitempty"`
	// Email is a verified address. Default: the key at example.com.
	Email string `json:"email,omitempty"`
	// Role and About are shown on the sign-in page. They are in no token.
	Role  string `json:"role,omitempty"`
	About string `json:"about,omitempty"`
	// Permissions is the permissions claim. A scope with the name of a permission is
	// granted on request.
	Permissions []string `json:"permissions,omitempty"`
	// Scopes are further scopes that are granted on request.
	Scopes []string `json:"scopes,omitempty"`
	// ACR are the authentication contexts that a sign-in reaches: the first one
	// without a request, the others if acr_values has them. Default: none without a
	// request, and each one on request.
	ACR []string `json:"acr,omitempty"`
	// Claims are further claims of ID tokens, access tokens and userinfo responses.
	// Claims of the protocol, such as iss, cannot be set.
	Claims map[string]any `json:"claims,omitempty"`
}

// PolicyValues are what the policies of the application's methods name.
type PolicyValues struct {
	Permissions, Scopes, ACRValues []string
}

// A problem is what is wrong with a User or a Machine.
type problem struct {
	kind  string // "user" or "machine"
	key   string
	field string // by the name that it has in JSON and in the users file; "" for the key
	text  string // with the value and the remedy
}

func (p *problem) Error() string {
	return strings.TrimSuffix(fmt.Sprintf("%s %q: %s", p.kind, p.key, p.field), " ") + " " + p.text
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

// titled returns the words of a key with capitals.
func titled(key string) string {
	words := strings.FieldsFunc(key, func(r rune) bool { return strings.ContainsRune("._-", r) })
	for i, word := range words {
		first, size := utf8.DecodeRuneInString(word)
		words[i] = string(unicode.ToUpper(first)) + word[size:]
	}
	return strings.Join(words, " ")
}

// problems returns what is wrong with a user for itself.
func (u *User) problems() (all []*problem) {
	add := func(field, format string, args ...any) {
		all = append(all, &problem{"user", u.Key, field, fmt.Sprintf(format, args...)})
	}
	if !keyForm.MatchString(u.Key) {
		add("", "is not a key; write at most 64 letters, digits, dots, hyphens and underscores")
	}
	for _, f := range []struct{ field, value string }{
		{"subject", u.Subject}, {"name", u.Name}, {"given_name", u.GivenName}, {"family_name", u.FamilyName},
		{"email", u.Email}, {"role", u.Role}, {"about", u.About},
	} {
		if what := textProblem(f.value); what != "" {
			add(f.field, "%s", what)
		}
	}
	if name, host, _ := strings.Cut(u.Email, "@"); u.Email != "" && (name == "" || host == "" || strings.ContainsAny(u.Email, " <>,")) {
		add("email", "%q is not an address; write one such as %s@example.com", u.Email, u.Key)
	}
	for _, l := range []struct {
		field string
		items []string
		words bool
	}{{"permissions", u.Permissions, false}, {"scopes", u.Scopes, true}, {"acr", u.ACR, true}} {
		if what := listProblem(l.items, l.words); what != "" {
			add(l.field, "%s", what)
		}
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
func (u *User) checkUnique(others []*User) (all []*problem) {
	for _, other := range others {
		for _, f := range []struct{ field, value, others string }{
			{"", u.Key, other.Key}, {"subject", u.Subject, other.Subject}, {"email", strings.ToLower(u.Email), strings.ToLower(other.Email)},
		} {
			if f.value == f.others {
				all = append(all, &problem{"user", u.Key, f.field, fmt.Sprintf("is that of user %q too; give each user a different one", other.Key)})
			}
		}
	}
	return all
}

// completeUsers returns users with their defaults, and everything that is wrong with
// them.
func completeUsers(users []User) (all []*User, problems []*problem) {
	for _, u := range users {
		c := u.complete()
		problems = append(append(problems, c.problems()...), c.checkUnique(all)...)
		all = append(all, c)
	}
	return all, problems
}

// joined returns problems as one error, or nil.
func joined(problems []*problem) error {
	var errs []error
	for _, p := range problems {
		errs = append(errs, fmt.Errorf("devidp: %w", p))
	}
	return errors.Join(errs...)
}

// Initial returns the letter in place of a portrait.
func (u *User) Initial() string {
	r, _ := utf8.DecodeRuneInString(u.Name)
	return string(unicode.ToUpper(r))
}

// portraits is the number of colours in the style sheet.
const portraits = 8

// Portrait returns the class of the portrait's colour, which is always the same for a
// key.
func (u *User) Portrait() string {
	sum := 0
	for _, c := range []byte(u.Key) {
		sum = (sum*31 + int(c)) % 4093
	}
	return fmt.Sprintf("hue-%d", sum%portraits)
}

// standardScopes are granted to all users.
var standardScopes = []string{oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail, oidc.ScopeOfflineAccess}

// grantedScopes returns the requested scopes that u is granted. An API scope needs
// the permission of the same name, or is one of the user's scopes.
func (u *User) grantedScopes(asked []string) []string {
	var granted []string
	for _, s := range asked {
		if slices.Contains(slices.Concat(standardScopes, u.Permissions, u.Scopes), s) && !slices.Contains(granted, s) {
			granted = append(granted, s)
		}
	}
	return granted
}

// info returns the claims about u that scopes select.
func (u *User) info(scopes []string) *oidc.UserInfo {
	info := &oidc.UserInfo{Subject: u.Subject}
	// The user's own claims replace those that have no field in the configuration.
	claims := map[string]any{}
	if slices.Contains(scopes, oidc.ScopeProfile) {
		info.Name, info.GivenName, info.FamilyName = u.Name, u.GivenName, u.FamilyName
		claims["nickname"], claims["preferred_username"] = u.Key, u.Key
	}
	if slices.Contains(scopes, oidc.ScopeEmail) {
		info.Email, claims["email_verified"] = u.Email, true
	}
	maps.Copy(claims, u.Claims)
	info.Claims = claims
	return info
}
