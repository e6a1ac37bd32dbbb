package authn

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
)

// A Table holds the policy of every method of a server. It does not change
// after it was made. A method that is not in it needs a valid token.
type Table struct {
	methods map[string]*Rule // by full method name, "/package.Service/Method"
}

// A Rule is the policy of one method, ready to be applied.
type Rule struct {
	// Method is the full method name, "/package.Service/Method".
	Method string
	// Public methods need no token.
	Public bool
	// Scopes and Permissions are needed, all of them.
	Scopes, Permissions []string
	// MaxAge is how long ago the person may have signed in; 0 for any time.
	MaxAge time.Duration
	// ACRValues are the authentication contexts of which one is needed.
	ACRValues []string

	// The refusals are made once, with the table.
	scopesMissing, permissionsMissing, stepUp *status.Status
}

// tokenNeeded is the rule of a method without a policy.
var tokenNeeded = &Rule{}

// NewTable reads the policy of every method of the given services (see
// grpc.Server.GetServiceInfo) from their descriptors, and adds extra, by full
// method name ("/grpc.health.v1.Health/Check"), for services whose .proto is
// not ours. Every contradiction is an error that names the method: a public
// method with conditions, an empty scope, an entry of extra for a method that
// is not served or has a policy of its own.
func NewTable(services map[string]grpc.ServiceInfo, extra map[string]*authv1.Policy) (*Table, error) {
	t := &Table{methods: map[string]*Rule{}}
	var errs []error
	served := map[string]bool{}
	for name, info := range services {
		for _, method := range info.Methods {
			full := "/" + name + "/" + method.Name
			served[full] = true
			policy, err := declared(name, method.Name)
			if err == nil {
				err = t.add(full, policy)
			}
			errs = append(errs, err)
		}
	}
	for full, policy := range extra {
		switch {
		case !served[full]:
			errs = append(errs, fmt.Errorf("policy for %s: no such method is served; correct the name or drop the entry", full))
		case t.methods[full] != nil:
			errs = append(errs, fmt.Errorf("policy for %s: its .proto declares one already; drop the entry", full))
		default:
			errs = append(errs, t.add(full, policy))
		}
	}
	for full := range served {
		if t.methods[full] == nil {
			t.methods[full] = &Rule{Method: full}
		}
	}
	if err := errors.Join(sorted(errs)...); err != nil {
		return nil, err
	}
	return t, nil
}

// Rules lists the rules of all methods that are served, by method name.
func (t *Table) Rules() []Rule {
	rules := make([]Rule, 0, len(t.methods))
	for _, rule := range t.methods {
		r := *rule
		r.Scopes, r.Permissions, r.ACRValues = slices.Clone(r.Scopes), slices.Clone(r.Permissions), slices.Clone(r.ACRValues)
		rules = append(rules, r)
	}
	slices.SortFunc(rules, func(a, b Rule) int { return strings.Compare(a.Method, b.Method) })
	return rules
}

// String says in a few words who may call.
func (r Rule) String() string {
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
	if r.MaxAge > 0 {
		words = append(words, "signed in within "+r.MaxAge.String())
	}
	return strings.Join(words, ", ")
}

func (t *Table) rule(method string) *Rule {
	if rule, ok := t.methods[method]; ok {
		return rule
	}
	return tokenNeeded
}

// allows holds a verified principal to the rule. A nil status lets it pass.
func (r *Rule) allows(p *Principal, now time.Time) *status.Status {
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

// declared returns the policy option of a method, nil if it has none. A
// service whose descriptor is not linked in has no options to read.
func declared(service, method string) (*authv1.Policy, error) {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if errors.Is(err, protoregistry.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("policy for /%s/%s: %w", service, method, err)
	}
	sd, ok := d.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil, fmt.Errorf("policy for /%s/%s: %s is no service in its .proto", service, method, service)
	}
	md := sd.Methods().ByName(protoreflect.Name(method))
	if md == nil {
		return nil, fmt.Errorf("policy for /%s/%s: its .proto has no such method; run buf generate", service, method)
	}
	if !proto.HasExtension(md.Options(), authv1.E_Policy) {
		if unread(md.Options(), authv1.E_Policy) {
			return nil, fmt.Errorf("policy for /%s/%s: its descriptor was read without the policy option; link gatehouse.auth.v1 into what reads it", service, method)
		}
		return nil, nil
	}
	policy, ok := proto.GetExtension(md.Options(), authv1.E_Policy).(*authv1.Policy)
	if !ok {
		return nil, fmt.Errorf("policy for /%s/%s: the option is of another type than gatehouse.auth.v1.Policy", service, method)
	}
	return policy, nil
}

// unread reports whether a message has an extension that was not understood
// when the message was read. What is in it may not be passed over.
func unread(m proto.Message, x protoreflect.ExtensionType) bool {
	raw := m.ProtoReflect().GetUnknown()
	for len(raw) > 0 {
		number, _, n := protowire.ConsumeField(raw)
		if n < 0 || number == x.TypeDescriptor().Number() {
			return true
		}
		raw = raw[n:]
	}
	return false
}

func (t *Table) add(full string, policy *authv1.Policy) error {
	if policy == nil {
		return nil
	}
	fail := func(format string, args ...any) error {
		return fmt.Errorf("policy for %s: %s", full, fmt.Sprintf(format, args...))
	}
	if len(policy.ProtoReflect().GetUnknown()) > 0 {
		return fail("it has a condition that this version does not know; update gatehouse, or drop the condition")
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
			return fail("max_age is %v; it must be whole seconds, 1 at least", rule.MaxAge)
		}
	}
	for _, field := range []struct {
		name   string
		values []string
	}{{"scopes", rule.Scopes}, {"permissions", rule.Permissions}, {"acr_values", rule.ACRValues}} {
		for i, value := range field.values {
			switch {
			case !scopeToken(value):
				return fail("%s has %q; RFC 6749 section 3.3 allows printable ASCII without spaces, quotes and backslashes", field.name, value)
			case slices.Contains(field.values[:i], value):
				return fail("%s names %q twice; drop one", field.name, value)
			}
		}
	}
	conditions := len(rule.Scopes)+len(rule.Permissions)+len(rule.ACRValues) > 0 || policy.MaxAge != nil
	if rule.Public && conditions {
		return fail("public, and yet with conditions; drop one or the other")
	}
	rule.scopesMissing = statusScopes(rule.Scopes)
	rule.permissionsMissing = statusPermissions(rule.Permissions)
	rule.stepUp = statusStepUp(rule.MaxAge, rule.ACRValues)
	t.methods[full] = rule
	return nil
}

// scopeToken reports whether s is a scope-token of RFC 6749, section 3.3, and
// so can stand in a challenge as it is.
func scopeToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

func sorted(errs []error) []error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errs
}
