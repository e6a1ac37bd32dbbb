package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"time"

	"github.com/fullstorydev/grpchan"
	"github.com/fullstorydev/grpchan/inprocgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalphapb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// Limits on what one client may ask of the server.
const (
	// maxConcurrentStreams bounds the calls of one connection; grpc-go's
	// default is unlimited (CVE-2023-44487, rapid reset).
	maxConcurrentStreams = 250
	// maxReceiveBytes bounds one message.
	maxReceiveBytes = 4 << 20
	// maxHeaderBytes bounds the metadata of one call: the longest token that
	// is looked at (16 KiB), and room.
	maxHeaderBytes = 32 << 10
	// idleConnection is how long a connection without calls is kept.
	idleConnection = 15 * time.Minute
	// healthInterval is how often the health service looks whether tokens can
	// be verified.
	healthInterval = time.Second
)

// DefaultTimeout bounds a unary call when Config.Timeout is zero.
const DefaultTimeout = 30 * time.Second

// Config describes a server. Authn's Issuer and Audience are required.
type Config struct {
	// Authn says whose tokens are good.
	Authn authn.Config
	// Register adds the services, each with its generated Register function.
	Register func(grpc.ServiceRegistrar)
	// Policies adds policies by full method name ("/package.Service/Method"),
	// for services whose .proto is not yours. The health service, and
	// reflection where it is on, are public already.
	Policies map[string]*authv1.Policy
	// Reflection serves grpc.reflection: it shows the whole contract to
	// anyone, so it is for development and for internal networks.
	Reflection bool
	// Timeout bounds each unary call; 0 means DefaultTimeout. A caller's
	// earlier deadline counts.
	Timeout time.Duration
	// Logger gets one line a call; nil for none.
	Logger *slog.Logger
}

// A Server is a gRPC server whose every call is authenticated and held to the
// policy of its method. It is safe for concurrent use.
type Server struct {
	grpc     *grpc.Server
	inproc   *inprocgrpc.Channel
	verifier *authn.Verifier
	table    *authn.Table
	health   *health.Server
}

// New builds a server. It fails on contradictory policies and on a service
// without an implementation, so that no method is ever served under another
// policy than the one that is written down.
func New(cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Authn.Logger == nil {
		cfg.Authn.Logger = cfg.Logger
	}
	verifier, err := authn.NewVerifier(cfg.Authn)
	if err != nil {
		return nil, err
	}
	s := &Server{verifier: verifier, health: health.NewServer()}

	// The policies come from the services, and the interceptors, which the
	// gRPC server wants first, from the policies: so the services are
	// collected before.
	var services collection
	healthpb.RegisterHealthServer(&services, s.health)
	if cfg.Register != nil {
		cfg.Register(&services)
	}
	if cfg.Reflection {
		options := reflection.ServerOptions{Services: &services}
		reflectionpb.RegisterServerReflectionServer(&services, reflection.NewServerV1(options))
		reflectionalphapb.RegisterServerReflectionServer(&services, reflection.NewServer(options))
	}
	if err := services.check(); err != nil {
		return nil, err
	}
	s.table, err = authn.NewTable(services.GetServiceInfo(), withOwn(cfg.Policies, cfg.Reflection))
	if err != nil {
		return nil, err
	}

	unary, stream := interceptors(cfg, authn.NewInterceptor(verifier, s.table))
	s.grpc = grpc.NewServer(
		grpc.ChainUnaryInterceptor(unary...),
		grpc.ChainStreamInterceptor(stream...),
		grpc.MaxConcurrentStreams(maxConcurrentStreams),
		grpc.MaxRecvMsgSize(maxReceiveBytes),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleConnection}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	)
	// The in-process channel ignores a grpc.Server's options, so it is given
	// the interceptors apart.
	s.inproc = &inprocgrpc.Channel{}
	inproc := grpchan.WithStreamInterceptors(grpchan.WithUnaryInterceptors(s.inproc, unary...), stream...)
	for _, service := range services {
		s.grpc.RegisterService(service.desc, service.impl)
		inproc.RegisterService(service.desc, service.impl)
	}
	return s, nil
}

// Conn returns a channel that calls the server in process, without a network
// but through the same interceptors.
func (s *Server) Conn() grpc.ClientConnInterface { return s.inproc }

// Rules lists who may call which method, by method name.
func (s *Server) Rules() []authn.Rule { return s.table.Rules() }

// Ready says why calls cannot be authenticated at the moment, nil if they
// can.
func (s *Server) Ready() error { return s.verifier.Ready() }

// Run keeps the provider's keys fresh and the health service truthful until
// the context ends.
func (s *Server) Run(ctx context.Context) error {
	verifying := make(chan error, 1)
	go func() { verifying <- s.verifier.Run(ctx) }()
	ticker := time.NewTicker(healthInterval)
	defer ticker.Stop()
	for {
		serving := healthpb.HealthCheckResponse_SERVING
		if s.Ready() != nil {
			serving = healthpb.HealthCheckResponse_NOT_SERVING
		}
		s.health.SetServingStatus("", serving)
		select {
		case err := <-verifying:
			return err
		case <-ticker.C:
		}
	}
}

// Serve accepts connections until Shutdown, and returns nil then.
func (s *Server) Serve(listener net.Listener) error {
	if err := s.grpc.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// Shutdown says on the health service that the server is leaving, takes no
// more calls, and waits for those under way until the context ends, when it
// cuts them off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.health.Shutdown()
	done := make(chan struct{})
	go func() { s.grpc.GracefulStop(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.grpc.Stop()
		<-done
		return ctx.Err()
	}
}

// withOwn adds the policies of the services that this package registers
// itself.
func withOwn(policies map[string]*authv1.Policy, reflects bool) map[string]*authv1.Policy {
	public := &authv1.Policy{Public: true}
	all := map[string]*authv1.Policy{
		healthpb.Health_Check_FullMethodName: public,
		healthpb.Health_Watch_FullMethodName: public,
		healthpb.Health_List_FullMethodName:  public,
	}
	if reflects {
		all[reflectionpb.ServerReflection_ServerReflectionInfo_FullMethodName] = public
		all[reflectionalphapb.ServerReflection_ServerReflectionInfo_FullMethodName] = public
	}
	for method, policy := range policies {
		all[method] = policy
	}
	return all
}

// A collection remembers services until the servers that want them exist.
type collection []service

type service struct {
	desc *grpc.ServiceDesc
	impl any
}

// RegisterService implements grpc.ServiceRegistrar.
func (c *collection) RegisterService(desc *grpc.ServiceDesc, impl any) {
	*c = append(*c, service{desc, impl})
}

// GetServiceInfo implements reflection.ServiceInfoProvider.
func (c *collection) GetServiceInfo() map[string]grpc.ServiceInfo {
	all := make(map[string]grpc.ServiceInfo, len(*c))
	for _, s := range *c {
		info := grpc.ServiceInfo{Metadata: s.desc.Metadata}
		for _, m := range s.desc.Methods {
			info.Methods = append(info.Methods, grpc.MethodInfo{Name: m.MethodName})
		}
		for _, st := range s.desc.Streams {
			info.Methods = append(info.Methods, grpc.MethodInfo{
				Name: st.StreamName, IsClientStream: st.ClientStreams, IsServerStream: st.ServerStreams,
			})
		}
		all[s.desc.ServiceName] = info
	}
	return all
}

// check reports services that gRPC would refuse by ending the process.
func (c *collection) check() error {
	seen := map[string]bool{}
	for _, s := range *c {
		name := s.desc.ServiceName
		want := reflect.TypeOf(s.desc.HandlerType).Elem()
		switch {
		case seen[name]:
			return fmt.Errorf("service %s is registered twice; drop one of the two", name)
		case s.impl == nil:
			return fmt.Errorf("service %s is registered without an implementation", name)
		case !reflect.TypeOf(s.impl).Implements(want):
			return fmt.Errorf("service %s: %T does not implement %s", name, s.impl, want)
		}
		seen[name] = true
	}
	return nil
}
