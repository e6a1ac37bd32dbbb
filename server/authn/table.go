package authn

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
)

// A Table has the policy of every method: the option in its .proto, or the one
// that NewTable was given. A policy is resolved by [Table.Check], or else when
// its method is called for the first time; calls of a method whose policy is
// contradictory are then refused with an internal error. A method without a
// policy needs a valid token. A Table is safe for concurrent use.
type Table struct {
	policies map[string]*authv1.Policy

	mu    sync.Mutex                       // held to replace rules
	rules atomic.Pointer[map[string]*Rule] // by full method name; never changed, only replaced
}

// NewTable returns a table with policies by full method name
// ("/grpc.health.v1.Health/Check"), for services whose .proto files are not
// yours. Call [Table.Check] before serving: without it a name that no service
// has, such as a misspelt one, is not noticed, and the method that was meant
// then needs a valid token and nothing else. server.New calls it.
func NewTable(policies map[string]*authv1.Policy) *Table {
	t := &Table{policies: maps.Clone(policies)}
	t.rules.Store(&map[string]*Rule{})
	return t
}

// Check resolves the policy of every method of services, which
// [grpc.Server.GetServiceInfo] returns. Call it before serving. It returns all
// contradictions, joined, each with the name of its method: a public method with
// conditions, an empty scope, a policy given to NewTable for a method that is not
// among services or has one in its .proto.
func (t *Table) Check(services map[string]grpc.ServiceInfo) error {
	var errs []error
	checked := map[string]*Rule{}
	for name, info := range services {
		for _, method := range info.Methods {
			full := "/" + name + "/" + method.Name
			checked[full], _ = t.resolve(full)
			errs = append(errs, checked[full].err)
		}
	}
	for full := range t.policies {
		if checked[full] == nil {
			errs = append(errs, fmt.Errorf("policy for %s: no such method is served; "+
				"correct the name or remove the entry", full))
		}
	}
	t.add(checked)
	return errors.Join(sorted(errs)...)
}

// needsPermissions reports whether a rule that has been resolved needs a permission.
func (t *Table) needsPermissions() bool {
	for _, rule := range *t.rules.Load() {
		if len(rule.Permissions) > 0 {
			return true
		}
	}
	return false
}

// Rules returns the rules that have been resolved, by method name: after
// [Table.Check], those of all methods that are served.
func (t *Table) Rules() []Rule {
	var rules []Rule
	for _, rule := range *t.rules.Load() {
		r := *rule
		r.Scopes, r.Permissions, r.ACRValues = slices.Clone(r.Scopes), slices.Clone(r.Permissions), slices.Clone(r.ACRValues)
		r.Callers = slices.Clone(r.Callers)
		rules = append(rules, r)
	}
	slices.SortFunc(rules, func(a, b Rule) int { return strings.Compare(a.Method, b.Method) })
	return rules
}

// rule returns the rule of a method.
func (t *Table) rule(full string) *Rule {
	if rule, ok := (*t.rules.Load())[full]; ok {
		return rule
	}
	rule, known := t.resolve(full)
	if known { // unknown names, which callers choose, are not kept
		t.add(map[string]*Rule{full: rule})
	}
	return rule
}

func (t *Table) add(more map[string]*Rule) {
	t.mu.Lock()
	defer t.mu.Unlock()
	rules := maps.Clone(*t.rules.Load())
	maps.Copy(rules, more)
	t.rules.Store(&rules)
}

// resolve returns the rule of a method, and whether a policy or a .proto names the
// method.
func (t *Table) resolve(full string) (rule *Rule, known bool) {
	service, method, _ := strings.Cut(strings.TrimPrefix(full, "/"), "/")
	given := t.policies[full]
	policy, known, err := declared(service, method)
	switch {
	case err != nil:
		return brokenRule(full, err), known
	case given != nil && policy != nil:
		return brokenRule(full, errors.New("its .proto declares one already; remove the entry")), true
	case given != nil:
		policy, known = given, true
	}
	rule = newRule(full, policy)
	rule.transfers = transfers(service, method)
	return rule, known
}

// transfers reports whether a method streams bytes: answers of google.api.HttpBody, or
// requests that are or have one.
func transfers(service, method string) bool {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service + "." + method))
	md, ok := d.(protoreflect.MethodDescriptor)
	if err != nil || !ok {
		return false
	}
	if md.IsStreamingServer() && isBytes(md.Output()) {
		return true
	}
	fields := md.Input().Fields()
	for i := range fields.Len() {
		if field := fields.Get(i); md.IsStreamingClient() && field.Message() != nil && isBytes(field.Message()) {
			return true
		}
	}
	return md.IsStreamingClient() && isBytes(md.Input())
}

func isBytes(message protoreflect.MessageDescriptor) bool {
	return message.FullName() == "google.api.HttpBody"
}

// declared returns the policy option of a method, nil if it has none, and whether
// a linked .proto has the method.
func declared(service, method string) (policy *authv1.Policy, linked bool, err error) {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if errors.Is(err, protoregistry.NotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	sd, ok := d.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil, false, fmt.Errorf("%s is not a service in its .proto", service)
	}
	md := sd.Methods().ByName(protoreflect.Name(method))
	if md == nil {
		return nil, false, errors.New("its .proto has no such method; run buf generate")
	}
	if !proto.HasExtension(md.Options(), authv1.E_Policy) {
		if unread(md.Options(), authv1.E_Policy) {
			return nil, true, errors.New("its descriptor was read without the policy option; " +
				"link gatehouse.auth.v1 into what reads it")
		}
		return nil, true, nil
	}
	policy, ok = proto.GetExtension(md.Options(), authv1.E_Policy).(*authv1.Policy)
	if !ok {
		return nil, true, errors.New("the option is of another type than gatehouse.auth.v1.Policy")
	}
	return policy, true, nil
}

// unread reports whether a message has an extension that was unknown when the
// message was parsed. To ignore it would drop conditions.
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

func sorted(errs []error) []error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errs
}
