package authn

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/status"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
)

// A Rule is the policy of one method.
type Rule struct {
	// Method is the full method name, "/package.Service/Method".
	Method string
	// Public methods need no token.
	Public bool
	// Scopes and Permissions are all required.
	Scopes, Permissions []string
	// MaxAge is how long ago the user may have signed in; 0 for no limit.
	MaxAge time.Duration
	// ACRValues are the authentication context classes of which one is required.
	ACRValues []string
	// Callers are the classes of callers that are admitted, Users before Machines; nil
	// for a public method.
	Callers []Class

	// The refusals are made once, with the rule.
	scopesMissing, permissionsMissing, stepUp *status.Status

	transfers bool  // streams google.api.HttpBody
	err       error // why the policy cannot be applied
}

// String returns the policy in a few words, such as "token, scope write".
func (r Rule) String() string {
	if r.err != nil {
		return "refused: its policy is contradictory"
	}
	if r.Public {
		return "public"
	}
	words := []string{"token"}
	add := func(name string, values []string) {
		if len(values) > 0 {
			words = append(words, name+" "+strings.Join(values, "+"))
		}
	}
	add("scope", r.Scopes)
	add("permission", r.Permissions)
	add("acr", r.ACRValues)
	if slices.Contains(r.Callers, Machines) {
		add("callers", classNames(r.Callers))
	}
	if r.MaxAge > 0 {
		words = append(words, "signed in within "+r.MaxAge.String())
	}
	return strings.Join(words, ", ")
}

// allows returns why the rule refuses a verified principal, nil if it does not.
func (r *Rule) allows(p *Principal, now time.Time) *status.Status {
	if !r.Public && !slices.Contains(r.Callers, p.Class) {
		return classRefusals[r.Callers[0]]
	}
	for _, scope := range r.Scopes {
		if !p.HasScope(scope) {
			return r.scopesMissing
		}
	}
	for _, permission := range r.Permissions {
		if !p.HasPermission(permission) {
			return r.permissionsMissing
		}
	}
	if len(r.ACRValues) > 0 && !slices.Contains(r.ACRValues, p.ACR) {
		return r.stepUp
	}
	if r.MaxAge > 0 && (p.AuthTime.IsZero() || now.Sub(p.AuthTime) > r.MaxAge) {
		return r.stepUp
	}
	return nil
}

// ignores reports whether a call with the principal is one without a token. A public
// method admits no class by name, and its service, which may have been written when all
// callers were users, must not take a machine for one.
func (r *Rule) ignores(p *Principal) bool { return r.Public && p.Class == Machines }

// newRule returns the rule of a method. No policy means that a token is needed and
// enough. A rule with an error admits no caller.
func newRule(full string, policy *authv1.Policy) *Rule {
	if policy == nil {
		return &Rule{Method: full, Callers: usersOnly}
	}
	fail := func(format string, args ...any) *Rule {
		return brokenRule(full, fmt.Errorf(format, args...))
	}
	if len(policy.ProtoReflect().GetUnknown()) > 0 {
		return fail("has a condition that this version does not know; update gatehouse or remove the condition")
	}
	rule := &Rule{
		Method:      full,
		Public:      policy.GetPublic(),
		Scopes:      slices.Clone(policy.GetScopes()),
		Permissions: slices.Clone(policy.GetPermissions()),
		ACRValues:   slices.Clone(policy.GetAcrValues()),
	}
	if policy.MaxAge != nil {
		if err := policy.MaxAge.CheckValid(); err != nil {
			return fail("max_age: %v", err)
		}
		rule.MaxAge = policy.MaxAge.AsDuration()
		if rule.MaxAge < time.Second || rule.MaxAge%time.Second != 0 {
			return fail("max_age is %v; give whole seconds, at least 1", rule.MaxAge)
		}
	}
	for _, field := range []struct {
		name   string
		values []string
	}{{"scopes", rule.Scopes}, {"permissions", rule.Permissions}, {"acr_values", rule.ACRValues}} {
		for i, value := range field.values {
			switch {
			case !scopeToken(value):
				return fail("%s has %q; RFC 6749 §3.3 allows printable ASCII without spaces, quotes and backslashes", field.name, value)
			case slices.Contains(field.values[:i], value):
				return fail("%s names %q twice; remove one", field.name, value)
			}
		}
	}
	callers, err := classes(policy.GetCallers())
	if err != nil {
		return fail("%w", err)
	}
	if slices.Contains(callers, Machines) && (policy.MaxAge != nil || len(rule.ACRValues) > 0) {
		return fail("admits machines and has max_age or acr_values; machines do not sign in, so that none could call it; remove one or the other")
	}
	conditions := len(rule.Scopes)+len(rule.Permissions)+len(rule.ACRValues)+len(policy.GetCallers()) > 0 || policy.MaxAge != nil
	if rule.Public && conditions {
		return fail("is public and has conditions; remove one or the other")
	}
	if !rule.Public {
		rule.Callers = callers
	}
	rule.scopesMissing = statusScopes(rule.Scopes)
	rule.permissionsMissing = statusPermissions(rule.Permissions)
	rule.stepUp = statusStepUp(rule.MaxAge, rule.ACRValues)
	return rule
}

// usersOnly are the classes of a policy that names none.
var usersOnly = []Class{Users}

// classes returns the classes of callers that a policy admits.
func classes(callers []authv1.Callers) ([]Class, error) {
	if len(callers) == 0 {
		return usersOnly, nil
	}
	var list []Class
	for i, c := range callers {
		class, known := map[authv1.Callers]Class{authv1.Callers_CALLERS_USERS: Users, authv1.Callers_CALLERS_MACHINES: Machines}[c]
		switch {
		case !known:
			return nil, fmt.Errorf("callers has %v; give CALLERS_USERS, CALLERS_MACHINES, or both", c)
		case slices.Contains(callers[:i], c):
			return nil, fmt.Errorf("callers names %v twice; remove one", c)
		}
		list = append(list, class)
	}
	slices.Sort(list)
	return list, nil
}

func classNames(classes []Class) (names []string) {
	for _, class := range classes {
		names = append(names, class.String())
	}
	return names
}

func brokenRule(full string, err error) *Rule {
	return &Rule{Method: full, err: fmt.Errorf("policy for %s: %w", full, err)}
}

// scopeToken reports whether s is a scope-token (RFC 6749 §3.3), which can be
// written into a challenge without quoting.
func scopeToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}
