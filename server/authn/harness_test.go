package authn_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/oidc"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

const audience = "https://api.example"

const users, machines = authv1.Callers_CALLERS_USERS, authv1.Callers_CALLERS_MACHINES

// A method of a service that has only a descriptor.
type method struct {
	name   string
	policy *authv1.Policy
}

var services atomic.Int64

// serve registers the descriptor of a service with these methods, under a unique
// name, and returns the name and the service info of a server with the service.
func serve(t testing.TB, methods ...method) (string, map[string]grpc.ServiceInfo) {
	t.Helper()
	n := services.Add(1)
	pkg := fmt.Sprintf("authntest.v%d", n)
	service := &descriptorpb.ServiceDescriptorProto{Name: proto.String("Service")}
	info := grpc.ServiceInfo{}
	for _, m := range methods {
		options := &descriptorpb.MethodOptions{}
		if m.policy != nil {
			proto.SetExtension(options, authv1.E_Policy, m.policy)
		}
		service.Method = append(service.Method, &descriptorpb.MethodDescriptorProto{
			Name: proto.String(m.name), InputType: proto.String("." + pkg + ".Empty"), OutputType: proto.String("." + pkg + ".Empty"),
			Options: options,
		})
		info.Methods = append(info.Methods, grpc.MethodInfo{Name: m.name})
	}
	publish(t, &descriptorpb.FileDescriptorProto{
		Name: proto.String(fmt.Sprintf("authntest/v%d/service.proto", n)), Package: proto.String(pkg), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Empty")}},
		Service:     []*descriptorpb.ServiceDescriptorProto{service},
	})
	return pkg + ".Service", map[string]grpc.ServiceInfo{pkg + ".Service": info}
}

func publish(t testing.TB, file *descriptorpb.FileDescriptorProto) {
	t.Helper()
	if _, err := protoregistry.GlobalFiles.FindFileByPath(file.GetName()); err == nil {
		return // by an earlier run of the test in this process
	}
	d, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	if err := protoregistry.GlobalFiles.RegisterFile(d); err != nil {
		t.Fatal(err)
	}
}

// checkedTable returns a table that was checked against the services.
func checkedTable(services map[string]grpc.ServiceInfo, policies map[string]*authv1.Policy) (*authn.Table, error) {
	table := authn.NewTable(policies)
	return table, table.Check(services)
}

// newTable returns the table of a service with one method per policy, named A, B and
// so on, and their full names.
func newTable(t testing.TB, policies ...*authv1.Policy) (*authn.Table, []string) {
	t.Helper()
	var methods []method
	for i, p := range policies {
		methods = append(methods, method{string(rune('A' + i)), p})
	}
	name, info := serve(t, methods...)
	table, err := checkedTable(info, nil)
	if err != nil {
		t.Fatal(err)
	}
	var full []string
	for _, m := range methods {
		full = append(full, "/"+name+"/"+m.name)
	}
	return table, full
}

// newIssuer returns an issuer that does not listen.
func newIssuer(t testing.TB) *tokentest.Issuer {
	t.Helper()
	return tokentest.NewUnserved(t, "https://issuer.example")
}

// mint signs a token for the audience of these tests.
func mint(issuer *tokentest.Issuer, claims map[string]any) string {
	all := map[string]any{"aud": audience}
	maps.Copy(all, claims)
	return issuer.Mint(all)
}

// newVerifier returns a verifier that has the issuer's keys.
func newVerifier(t testing.TB, issuer *tokentest.Issuer, cfg authn.Config) *authn.Verifier {
	t.Helper()
	provider, err := oidc.NewProvider(oidc.Config{Issuer: issuer.URL, HTTPClient: issuer.Client(), Now: cfg.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := provider.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg.Audience, cfg.Provider = audience, provider
	v, err := authn.NewVerifier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// newCold returns a verifier whose provider has not answered.
func newCold(t testing.TB, issuer *tokentest.Issuer) *authn.Verifier {
	t.Helper()
	provider, err := oidc.NewProvider(oidc.Config{Issuer: issuer.URL, HTTPClient: refusing()})
	if err != nil {
		t.Fatal(err)
	}
	v, err := authn.NewVerifier(authn.Config{Provider: provider, Audience: audience})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// refusing returns a client whose connections are refused.
func refusing() *http.Client { return &http.Client{Transport: refused{}} }

type refused struct{}

func (refused) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, fmt.Errorf("connection refused")
}

// incoming returns the context of a call with these authorization values.
func incoming(ctx context.Context, authorization ...string) context.Context {
	md := metadata.MD{}
	md.Append("authorization", authorization...)
	return metadata.NewIncomingContext(ctx, md)
}

// call makes a unary call and returns the principal that the handler saw; called is
// false if the handler did not run.
func call(ctx context.Context, i *authn.Interceptor, method string) (p *authn.Principal, called bool, err error) {
	_, err = i.Unary(ctx, "request", &grpc.UnaryServerInfo{FullMethod: method}, func(ctx context.Context, req any) (any, error) {
		called = true
		p, _ = authn.FromContext(ctx)
		return "response", nil
	})
	return p, called, err
}

// wantRefusal checks code, reason and metadata of the ErrorInfo; metadata are keys and
// values in turn.
func wantRefusal(t *testing.T, err error, code codes.Code, reason string, metadata ...string) {
	t.Helper()
	st, ok := status.FromError(err)
	if err == nil || !ok {
		t.Fatalf("got error %v, want a status with code %v", err, code)
	}
	if st.Code() != code {
		t.Errorf("code is %v, want %v", st.Code(), code)
	}
	info := errorInfo(st)
	if info.GetDomain() != "gatehouse" || info.GetReason() != reason {
		t.Errorf("ErrorInfo is %v, want reason %s of domain gatehouse", info, reason)
	}
	if len(info.GetMetadata()) != len(metadata)/2 {
		t.Errorf("ErrorInfo.metadata is %v, want %v", info.GetMetadata(), metadata)
	}
	for i := 0; i < len(metadata); i += 2 {
		if got := info.GetMetadata()[metadata[i]]; got != metadata[i+1] {
			t.Errorf("ErrorInfo.metadata[%s] is %q, want %q", metadata[i], got, metadata[i+1])
		}
	}
}

func errorInfo(st *status.Status) *errdetails.ErrorInfo {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info
		}
	}
	return nil
}

// A clock that tests set.
type clock struct{ unix atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.unix.Store(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).Unix())
	return c
}

func (c *clock) Now() time.Time          { return time.Unix(c.unix.Load(), 0) }
func (c *clock) Advance(d time.Duration) { c.unix.Add(int64(d / time.Second)) }

func decode(t *testing.T, segment string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
