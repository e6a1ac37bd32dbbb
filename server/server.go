package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalphapb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/internal/arrival"
	"github.com/gatehouse-dev/gatehouse/internal/inprocess"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// Limits on the resources that one client can use.
const (
	// maxHeaderBytes bounds the metadata of one call: the longest token that is
	// verified (16 KiB), and as much again.
	maxHeaderBytes = 32 << 10
	// streamWindow and connWindow bound what is buffered, of one call before its
	// handler reads it and of one connection. grpc-go's default grows with the
	// speed of the sender, to 16 MiB per stream.
	streamWindow = 64 << 10
	connWindow   = 1 << 20
	// readBuffer is the read buffer of one connection, half of grpc-go's default.
	readBuffer = 16 << 10
	// streamWorkers is how many goroutines serve one call after another. A new goroutine has a small
	// stack, and growing it for the interceptors was a fifth of the cost of a short call. Calls that
	// find no free worker have a goroutine of their own.
	streamWorkers = 32
	// handshake is how long a connection may take to begin HTTP/2; grpc-go's
	// default is two minutes.
	handshake = 10 * time.Second
	// idleConnection is how long a connection without calls is kept.
	idleConnection = 15 * time.Minute
	// pingInterval is how long a silent peer is taken to be alive. A stream to a
	// dead peer would last until its token expires.
	pingInterval = time.Minute
	// healthInterval is how often the health service checks whether tokens can be
	// verified. After the start it does so after firstHealth, and then each time after
	// twice as long: gateways wait for the answer.
	healthInterval = time.Second
	firstHealth    = 10 * time.Millisecond
)

// A Server is a gRPC server that authenticates every call and applies the policy of
// its method. It is safe for concurrent use.
type Server struct {
	grpc     *grpc.Server
	inproc   *inprocess.Conn
	calls    *calls // in process
	verifier *authn.Verifier
	table    *authn.Table
	health   *healthService
	also     func() error // Config.Ready, may be nil
}

// New returns a server. It refuses a Config that Validate refuses, contradictory
// policies, and services without an implementation, so that no method is served
// with another policy than the declared one. It contacts nothing; [Server.Run]
// does. Shutdown ends the goroutines that wait for calls.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	cfg = cfg.withDefaults()
	verifier, err := authn.NewVerifier(cfg.Authn)
	if err != nil {
		return nil, err
	}
	s := &Server{verifier: verifier, calls: newCalls(), health: newHealthService(), also: cfg.Ready}

	// grpc.NewServer needs the limits, and each service needs the interceptors:
	// the services are collected and checked before either is made.
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
	s.health.addServices(services)
	s.table = authn.NewTable(withOwn(cfg.Policies, cfg.Reflection))
	if err := s.table.Check(services.GetServiceInfo()); err != nil {
		return nil, err
	}

	meter := &callMeter{metrics.NewRPC(cfg.MeterProvider), metrics.NewUpDownCounter(cfg.MeterProvider, metrics.StreamsOpen)}
	before, after, stream := interceptors(cfg, meter, authn.NewInterceptor(verifier, s.table))
	unaryOfApp, streamOfApp := applications(cfg)
	after = append(after, unaryOfApp...)
	network := &receiver{
		before: inprocess.ChainUnary(before), after: inprocess.ChainUnary(after), stream: inprocess.ChainStream(stream),
		inner:      inprocess.ChainStream(streamOfApp),
		known:      verifier.Known,
		anonymous:  arrival.New(max(anonymousBytes, 16*int64(cfg.Limits.MaxRequestBytes)), time.Now),
		maxMessage: 4 * int64(cfg.Limits.MaxRequestBytes),
		timeout:    cfg.Limits.Timeout,
		limited:    metrics.NewCounter(cfg.MeterProvider, metrics.LimitRejections),
	}
	s.grpc = grpc.NewServer(
		grpc.InTapHandle(network.tap),
		grpc.UnknownServiceHandler(meter.unknown),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.ReadBufferSize(readBuffer),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.MaxConcurrentStreams(uint32(cfg.Limits.MaxConnStreams)),
		grpc.MaxRecvMsgSize(cfg.Limits.MaxRequestBytes),
		grpc.MaxSendMsgSize(cfg.Limits.MaxResponseBytes),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.ConnectionTimeout(handshake),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleConnection, MaxConnectionAge: cfg.Limits.ConnectionAge, Time: pingInterval}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	)
	s.inproc = inprocess.New(inprocess.Config{
		Unary: append(before, after...), Stream: append(stream, streamOfApp...),
		MaxReceiveBytes: cfg.Limits.MaxRequestBytes, MaxSendBytes: cfg.Limits.MaxResponseBytes,
		Begin: s.calls.begin, End: s.calls.end,
	})
	for _, service := range services {
		s.grpc.RegisterService(network.service(service.desc, service.impl), service.impl)
		s.inproc.RegisterService(service.desc, service.impl)
	}
	return s, nil
}

// Conn returns a connection that calls the server in process, without a network
// but through the same interceptors. A unary call runs in the goroutine of its
// caller and returns when its handler does, so a handler that ignores its context
// blocks the caller beyond the deadline. Conn works without Serve and is safe for
// concurrent use. It has a method HasMethod(fullMethod string) bool, by which a
// gateway refuses services that are not registered.
func (s *Server) Conn() grpc.ClientConnInterface { return s.inproc }

// Rules returns the policy of each method, by method name.
func (s *Server) Rules() []authn.Rule { return s.table.Rules() }

// IntrospectionReady is [authn.Verifier.IntrospectionReady].
func (s *Server) IntrospectionReady() error { return s.verifier.IntrospectionReady() }

// SetIntrospectionCredential is [authn.Verifier.SetIntrospectionCredential].
func (s *Server) SetIntrospectionCredential(secret, key string) error {
	return s.verifier.SetIntrospectionCredential(secret, key)
}

// Ready returns why the server should get no calls at the moment, nil if it should:
// because tokens cannot be verified, or the error of Config.Ready.
func (s *Server) Ready() error {
	if err := s.verifier.Ready(); err != nil || s.also == nil {
		return err
	}
	return s.also()
}

// Run keeps the keys of the provider fresh and updates the health service, until
// the context ends. Before it runs, the health service reports NOT_SERVING.
func (s *Server) Run(ctx context.Context) error {
	verifying := make(chan error, 1)
	go func() { verifying <- s.verifier.Run(ctx) }()
	timer := time.NewTimer(firstHealth)
	defer timer.Stop()
	for wait := firstHealth; ; {
		s.health.set(s.Ready() == nil)
		select {
		case err := <-verifying:
			return err
		case <-timer.C:
		}
		wait = min(2*wait, healthInterval)
		timer.Reset(wait)
	}
}

// Serve accepts connections until Shutdown and then returns nil.
func (s *Server) Serve(listener net.Listener) error {
	if err := s.grpc.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// Leave makes the health service report NOT_SERVING, while calls are served as
// before, so that clients that watch it turn to another server.
func (s *Server) Leave() { s.health.Shutdown() }

// Drain refuses new connections and new calls over the network and returns at
// once. Calls in process are served until Shutdown.
func (s *Server) Drain() {
	s.health.stop()
	go s.grpc.GracefulStop()
}

// Shutdown drains the server, refuses new calls in process, and waits for those
// under way. If the context ends first, it cuts off the calls over the network and
// returns an error that wraps the context's; handlers that ignore their context may
// still run then. Calls in process end with the context of their caller.
func (s *Server) Shutdown(ctx context.Context) error {
	s.health.stop()
	inproc := s.calls.stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.grpc.GracefulStop()
		<-inproc
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.grpc.Stop()
		return fmt.Errorf("server: calls cut off at shutdown: %w", ctx.Err())
	}
}

// withOwn adds the policies of the services that this package registers itself.
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
	maps.Copy(all, policies)
	return all
}
