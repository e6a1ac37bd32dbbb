package server_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalphapb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/server"
)

// New refuses what cannot work, or would be served with another policy than the
// declared one, with an error of one line. (grpc-go would end the process for most
// of it.)
func TestNewRefuses(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	register := func(desc *grpc.ServiceDesc, impl any) func(*server.Config) {
		return func(cfg *server.Config) {
			cfg.Policies = nil
			cfg.Register = func(r grpc.ServiceRegistrar) { r.RegisterService(desc, impl) }
		}
	}
	var typedNil *probe
	without := probeDesc
	without.HandlerType = nil
	struck := probeDesc
	struck.HandlerType = probe{}
	twice := probeDesc
	twice.Streams = []grpc.StreamDesc{{StreamName: "Echo", Handler: streamHandler}}
	for _, c := range []struct {
		name   string
		change func(*server.Config)
		says   string
	}{
		{"a service twice", func(cfg *server.Config) {
			cfg.Register = func(r grpc.ServiceRegistrar) {
				testpb.RegisterTestServiceServer(r, testpb.UnimplementedTestServiceServer{})
				testpb.RegisterTestServiceServer(r, testpb.UnimplementedTestServiceServer{})
			}
		}, "service grpc.testing.TestService is registered twice"},
		{"a second health service", func(cfg *server.Config) {
			cfg.Register = func(r grpc.ServiceRegistrar) {
				healthpb.RegisterHealthServer(r, healthpb.UnimplementedHealthServer{})
			}
		}, "service grpc.health.v1.Health is registered twice"},
		{"no implementation", func(cfg *server.Config) {
			cfg.Register = func(r grpc.ServiceRegistrar) { testpb.RegisterTestServiceServer(r, nil) }
		}, "service grpc.testing.TestService is registered without an implementation"},
		{"a nil pointer", register(&probeDesc, typedNil), "service probe.v1.Probe is registered without an implementation"},
		{"another type", register(&probeDesc, "probe"), "service probe.v1.Probe is registered with a string, which does not implement server_test.prober"},
		{"no interface", register(&without, &probe{}), "service probe.v1.Probe has a description without the interface"},
		{"a struct for the interface", register(&struck, &probe{}), "service probe.v1.Probe has a description without the interface"},
		{"a method twice", register(&twice, &probe{}), "service probe.v1.Probe describes the method Echo twice"},
		{"a policy for nothing", func(cfg *server.Config) { cfg.Policies["/probe.v1.Probe/Gone"] = &authv1.Policy{} }, "policy for /probe.v1.Probe/Gone: no such method is served"},
		{"a policy for reflection that is off", func(cfg *server.Config) {
			cfg.Policies[reflectionpb.ServerReflection_ServerReflectionInfo_FullMethodName] = &authv1.Policy{}
		}, "no such method is served"},
		{"a contradiction", func(cfg *server.Config) {
			cfg.Policies[echo] = &authv1.Policy{Public: true, Scopes: []string{"a"}}
		}, "policy for /probe.v1.Probe/Echo: is public and has conditions"},
		{"a negative timeout", func(cfg *server.Config) { cfg.Limits.Timeout = -time.Second }, `Limits.Timeout "-1s" is negative`},
		{"too small a limit", func(cfg *server.Config) { cfg.Limits.MaxResponseBytes = 1 }, `Limits.MaxResponseBytes "1" is too small or too large`},
		{"no audience", func(cfg *server.Config) { cfg.Authn.Audience = "" }, "Authn.Audience is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := newConfig(t, issuer, &probe{})
			c.change(&cfg)
			_, err := server.New(cfg)
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("New: %v, want one line that says %q", err, c.says)
			}
		})
	}
}

// Rules is what gatehouse check prints.
func TestRules(t *testing.T) {
	t.Parallel()
	cfg := newConfig(t, newIssuer(t), &probe{})
	cfg.Reflection = true
	cfg.Policies[healthpb.Health_List_FullMethodName] = &authv1.Policy{Scopes: []string{"ops"}} // stricter than the default
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, rule := range s.Rules() {
		got = append(got, rule.Method+": "+rule.String())
	}
	want := []string{
		"/grpc.health.v1.Health/Check: public",
		"/grpc.health.v1.Health/List: token, scope ops",
		"/grpc.health.v1.Health/Watch: public",
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo: public",
		"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo: public",
		chat + ": token",
		collect + ": token",
		echo + ": token",
		openEcho + ": public",
		openWatch + ": public",
		scoped + ": token, scope write",
		watch + ": token",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the rules are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Reflection shows the contract, so it is off by default.
func TestReflection(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{true, false} {
		s := start(t, &probe{}, func(cfg *server.Config) {
			cfg.Reflection = on
			cfg.Register = func(r grpc.ServiceRegistrar) {
				r.RegisterService(&probeDesc, &probe{})
				testpb.RegisterTestServiceServer(r, testpb.UnimplementedTestServiceServer{})
			}
		})
		for way, conn := range s.ways {
			v1, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
			if !on {
				if err == nil {
					_, err = v1.Recv()
				}
				if status.Code(err) != codes.Unimplemented {
					t.Errorf("%s: reflection is off: got %v, want Unimplemented", way, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			list := &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}
			if err := v1.Send(list); err != nil {
				t.Fatal(err)
			}
			answer, err := v1.Recv()
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, service := range answer.GetListServicesResponse().GetService() {
				names = append(names, service.GetName())
			}
			for _, want := range []string{"grpc.testing.TestService", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "probe.v1.Probe"} {
				if !slices.Contains(names, want) {
					t.Errorf("%s: reflection lists %v, want %s among them", way, names, want)
				}
			}
			alpha, err := reflectionalphapb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := alpha.Send(&reflectionalphapb.ServerReflectionRequest{MessageRequest: &reflectionalphapb.ServerReflectionRequest_FileContainingSymbol{
				FileContainingSymbol: "grpc.testing.TestService",
			}}); err != nil {
				t.Fatal(err)
			}
			if file, err := alpha.Recv(); err != nil || len(file.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
				t.Errorf("%s: reflection does not show a file: %v, %v", way, file, err)
			}
		}
	}
}
