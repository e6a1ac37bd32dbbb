package authn_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/internal/test/doctest"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

func TestTable(t *testing.T) {
	t.Parallel()
	name, info := serve(t,
		method{"Read", nil},
		method{"Empty", &authv1.Policy{}},
		method{"List", &authv1.Policy{Public: true}},
		method{"Write", &authv1.Policy{Scopes: []string{"a:write", "b"}, Permissions: []string{"edit"}}},
		method{"People", &authv1.Policy{Callers: []authv1.Callers{users}}},
		method{"Publish", &authv1.Policy{Callers: []authv1.Callers{machines}, Permissions: []string{"publish"}}},
		method{"See", &authv1.Policy{Callers: []authv1.Callers{machines, users}}},
		method{"Pay", &authv1.Policy{MaxAge: durationpb.New(5 * time.Minute), AcrValues: []string{"urn:mfa", "phr"}}},
	)
	info["vendor.Unlinked"] = grpc.ServiceInfo{Methods: []grpc.MethodInfo{{Name: "Do"}, {Name: "See"}}} // no descriptor
	table, err := checkedTable(info, map[string]*authv1.Policy{
		"/vendor.Unlinked/See": {Public: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"/" + name + "/Empty: token",
		"/" + name + "/List: public",
		"/" + name + "/Pay: token, acr urn:mfa+phr, signed in within 5m0s",
		"/" + name + "/People: token",
		"/" + name + "/Publish: token, permission publish, callers machines",
		"/" + name + "/Read: token",
		"/" + name + "/See: token, callers users+machines",
		"/" + name + "/Write: token, scope a:write+b, permission edit",
		"/vendor.Unlinked/Do: token",
		"/vendor.Unlinked/See: public",
	}
	rules := table.Rules()
	var got []string
	for _, rule := range rules {
		got = append(got, fmt.Sprintf("%s: %v", rule.Method, rule))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the rules are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	// A change to a returned rule does not change the policy.
	rules[7].Scopes[0], rules[0].Callers[0] = "anything", authn.Machines
	if again := table.Rules(); again[7].Scopes[0] != "a:write" || again[0].Callers[0] != authn.Users {
		t.Errorf("a change to a returned rule changed the table: %v, %v", again[7].Scopes, again[0].Callers)
	}
}

// A contradictory policy stops the start, with an error that names the method,
// whether it is in a .proto or in the configuration.
func TestContradictions(t *testing.T) {
	t.Parallel()
	public := func(p *authv1.Policy) *authv1.Policy { p.Public = true; return p }
	for _, c := range []struct {
		name   string
		policy *authv1.Policy
		says   string
	}{
		{"public with scopes", public(&authv1.Policy{Scopes: []string{"a"}}), "is public and has conditions"},
		{"public with permissions", public(&authv1.Policy{Permissions: []string{"a"}}), "is public and has conditions"},
		{"public with acr", public(&authv1.Policy{AcrValues: []string{"a"}}), "is public and has conditions"},
		{"public with max_age", public(&authv1.Policy{MaxAge: durationpb.New(time.Minute)}), "is public and has conditions"},
		{"empty scope", &authv1.Policy{Scopes: []string{""}}, `scopes has ""`},
		{"two scopes in one", &authv1.Policy{Scopes: []string{"a b"}}, `scopes has "a b"`},
		{"scope that breaks a challenge", &authv1.Policy{Scopes: []string{`a"`}}, `scopes has "a\""`},
		{"scope with a line break", &authv1.Policy{Scopes: []string{"a\r\nX: y"}}, "scopes has"},
		{"permission beyond ASCII", &authv1.Policy{Permissions: []string{"é"}}, "permissions has"},
		{"acr with a backslash", &authv1.Policy{AcrValues: []string{`a\`}}, "acr_values has"},
		{"scope twice", &authv1.Policy{Scopes: []string{"a", "b", "a"}}, `scopes names "a" twice`},
		{"no time at all", &authv1.Policy{MaxAge: durationpb.New(0)}, "max_age is 0s"},
		{"negative time", &authv1.Policy{MaxAge: durationpb.New(-time.Minute)}, "max_age is -1m0s"},
		{"half a second", &authv1.Policy{MaxAge: durationpb.New(1500 * time.Millisecond)}, "max_age is 1.5s"},
		{"impossible duration", &authv1.Policy{MaxAge: &durationpb.Duration{Seconds: 1, Nanos: -1}}, "max_age: "},
		{"public with callers", public(&authv1.Policy{Callers: []authv1.Callers{users}}), "is public and has conditions"},
		{"no class", &authv1.Policy{Callers: []authv1.Callers{users, authv1.Callers_CALLERS_UNSPECIFIED}}, "callers has CALLERS_UNSPECIFIED; give"},
		{"class of a later version", &authv1.Policy{Callers: []authv1.Callers{7, users}}, "callers has 7; give"},
		{"class twice", &authv1.Policy{Callers: []authv1.Callers{machines, users, machines}}, "callers names CALLERS_MACHINES twice"},
		{"machines that sign in", &authv1.Policy{Callers: []authv1.Callers{machines}, MaxAge: durationpb.New(time.Minute)}, "admits machines and has max_age or acr_values"},
		{"machines of a class", &authv1.Policy{Callers: []authv1.Callers{users, machines}, AcrValues: []string{"a"}}, "admits machines and has max_age or acr_values"},
		{"condition of a later version", later(), "a condition that this version does not know"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			name, info := serve(t, method{"Good", nil}, method{"Bad", c.policy})
			_, err := checkedTable(info, nil)
			wantError(t, err, "policy for /"+name+"/Bad: ", c.says)

			_, err = checkedTable(map[string]grpc.ServiceInfo{"vendor.S": {Methods: []grpc.MethodInfo{{Name: "M"}}}},
				map[string]*authv1.Policy{"/vendor.S/M": c.policy})
			wantError(t, err, "policy for /vendor.S/M: ", c.says)
		})
	}
}

// later is a policy with a field that this version does not know. To ignore it
// would admit callers that it excludes.
func later() *authv1.Policy {
	p := &authv1.Policy{Scopes: []string{"a"}}
	p.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
	return p
}

func TestExtraPolicies(t *testing.T) {
	t.Parallel()
	name, info := serve(t, method{"Declared", &authv1.Policy{Scopes: []string{"a"}}}, method{"Silent", nil})
	_, err := checkedTable(info, map[string]*authv1.Policy{
		"/" + name + "/Declared": {Public: true},
		"/" + name + "/Gone":     {Public: true},
		name + "/Silent":         {Public: true},
	})
	wantError(t, err,
		"policy for /"+name+"/Declared: its .proto declares one already",
		"policy for /"+name+"/Gone: no such method is served",
		"policy for "+name+"/Silent: no such method is served",
	)

	table, err := checkedTable(info, map[string]*authv1.Policy{"/" + name + "/Silent": {Public: true}})
	if err != nil {
		t.Fatal(err)
	}
	if rule := table.Rules()[1]; !rule.Public {
		t.Errorf("the extra policy is not applied: %v", rule)
	}
}

// The policy of a method is unknown if its generated code is older than the
// linked .proto.
func TestMethodWithoutDeclaration(t *testing.T) {
	t.Parallel()
	name, info := serve(t, method{"A", nil})
	service := info[name]
	service.Methods = append(service.Methods, grpc.MethodInfo{Name: "Stale"})
	info[name] = service
	_, err := checkedTable(info, nil)
	wantError(t, err, "policy for /"+name+"/Stale: its .proto has no such method; run buf generate")
}

func TestServiceNameOfAMessage(t *testing.T) {
	t.Parallel()
	_, err := checkedTable(map[string]grpc.ServiceInfo{"google.protobuf.Duration": {Methods: []grpc.MethodInfo{{Name: "M"}}}}, nil)
	wantError(t, err, "google.protobuf.Duration is not a service in its .proto")
}

// A descriptor that was parsed where the option was not linked has it as unknown
// bytes. To take that for "no policy" would drop the scopes.
func TestUnreadOption(t *testing.T) {
	t.Parallel()
	policy, err := proto.Marshal(&authv1.Policy{Scopes: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	number := authv1.E_Policy.TypeDescriptor().Number()
	options := &descriptorpb.MethodOptions{}
	options.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), policy))
	pkg := fmt.Sprintf("authntest.v%d", services.Add(1))
	publish(t, &descriptorpb.FileDescriptorProto{
		Name: proto.String(pkg + ".proto"), Package: proto.String(pkg), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Empty")}},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("S"), Method: []*descriptorpb.MethodDescriptorProto{{
			Name: proto.String("M"), InputType: proto.String("Empty"), OutputType: proto.String("Empty"), Options: options,
		}}}},
	})
	name := pkg + ".S"
	_, err = checkedTable(map[string]grpc.ServiceInfo{name: {Methods: []grpc.MethodInfo{{Name: "M"}}}}, nil)
	wantError(t, err, "policy for /"+name+"/M: its descriptor was read without the policy option")
}

// A table that was not checked applies the policies of the .proto files, refuses
// every caller of a method whose policy is contradictory, and requires a token for
// methods without a descriptor.
func TestUncheckedTable(t *testing.T) {
	t.Parallel()
	name, _ := serve(t,
		method{"Read", nil},
		method{"List", &authv1.Policy{Public: true}},
		method{"Write", &authv1.Policy{Scopes: []string{"write"}}},
		method{"Broken", &authv1.Policy{Public: true, Scopes: []string{"a"}}},
		method{"Twice", &authv1.Policy{Scopes: []string{"a"}}},
	)
	table := authn.NewTable(map[string]*authv1.Policy{"/" + name + "/Twice": {Public: true}, "/vendor.Unlinked/See": {Public: true}})
	issuer := newIssuer(t)
	var log strings.Builder
	i := authn.NewInterceptor(newVerifier(t, issuer, authn.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}), table)
	ctx := incoming(t.Context(), "Bearer "+mint(issuer, map[string]any{"scope": "a"}))
	for range 2 {
		for method, want := range map[string][2]codes.Code{ // without and with a token
			"/" + name + "/Read":   {codes.Unauthenticated, codes.OK},
			"/" + name + "/List":   {codes.OK, codes.OK},
			"/" + name + "/Write":  {codes.Unauthenticated, codes.PermissionDenied},
			"/" + name + "/Broken": {codes.Internal, codes.Internal},
			"/" + name + "/Twice":  {codes.Internal, codes.Internal},
			"/" + name + "/Gone":   {codes.Internal, codes.Internal},
			"/vendor.Unlinked/Do":  {codes.Unauthenticated, codes.OK},
			"/vendor.Unlinked/See": {codes.OK, codes.OK},
			"no method at all":     {codes.Unauthenticated, codes.OK},
		} {
			_, _, without := call(t.Context(), i, method)
			_, _, with := call(ctx, i, method)
			if got := [2]codes.Code{status.Code(without), status.Code(with)}; got != want {
				t.Errorf("%s: got %v, want %v", method, got, want)
			}
		}
	}
	if want := "policy for /" + name + "/Broken: is public and has conditions"; !strings.Contains(log.String(), want) {
		t.Errorf("the log lacks %q:\n%s", want, log.String())
	}
	// Unknown names, which callers choose, are not kept.
	if rules := table.Rules(); len(rules) != 6 {
		t.Errorf("%d rules were kept, want those of 6 methods that exist: %v", len(rules), rules)
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error is %q, want %q in it", err, part)
		}
	}
}

// TestPolicyDocument holds the tables of docs/policies.md to the descriptor of the option and to the
// reasons of refusals.
func TestPolicyDocument(t *testing.T) {
	t.Parallel()
	var got, want []string
	for _, row := range doctest.Rows(t, "../..", "policies.md", "## Fields") {
		got = append(got, fmt.Sprint(doctest.Code(row[0]), doctest.Code(row[1])))
	}
	fields := (&authv1.Policy{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		kind := field.Kind().String()
		if field.Message() != nil {
			kind = string(field.Message().FullName())
		}
		if field.Enum() != nil {
			kind = string(field.Enum().FullName())
		}
		if field.IsList() {
			kind = "repeated " + kind
		}
		want = append(want, fmt.Sprint([]string{string(field.Name())}, []string{kind}))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the document has the fields\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	got = nil
	for _, row := range doctest.Rows(t, "../..", "policies.md", "## Refusals") {
		got = append(got, doctest.Code(row[0])...)
	}
	want = []string{
		authn.ReasonTokenMissing, authn.ReasonTokenInvalid, authn.ReasonTokenExpired, authn.ReasonTokenRevoked,
		authn.ReasonUnverifiable, authn.ReasonScopeMissing, authn.ReasonPermissionMissing, authn.ReasonStepUpRequired,
		authn.ReasonCallerNotAllowed,
	}
	if !slices.Equal(got, want) {
		t.Errorf("the document has the reasons %q, want %q", got, want)
	}
}
