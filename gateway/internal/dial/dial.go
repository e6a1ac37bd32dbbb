// Package dial owns the connections to the servers of a gateway: one to each of
// their addresses, of which every call takes one whose probe succeeds, and the
// second try of safe reads. It leaves finding and judging the addresses to
// internal/peers, and connecting and reconnecting to grpc-go.
package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/gatehouse-dev/gatehouse/internal/peers"
)

const (
	// streamWindow and connWindow limit, in bytes, what is read ahead of a server's
	// answers. grpc-go's default grows to 16 MiB a stream and measures the
	// connection with pings, which costs two system calls per call at either end.
	streamWindow = 256 << 10
	connWindow   = 4 << 20

	// A server that has come back is found within maxBackoff. grpc-go's default is
	// two minutes.
	minBackoff = 100 * time.Millisecond
	maxBackoff = time.Second
	// connectTimeout bounds one attempt to connect. A frozen server accepts
	// connections and says nothing.
	connectTimeout = 5 * time.Second

	// pingAfter is grpc-go's least. A connection whose data the peer does not
	// acknowledge for pingTimeout is closed: on Linux this sets TCP_USER_TIMEOUT,
	// and the probes are data.
	pingAfter   = 10 * time.Second
	pingTimeout = 3 * time.Second
)

// errLeft is the cause of attempts that end because their peer is silent.
var errLeft = errors.New("the server has stopped answering")

// Config configures a [Conn]. Targets is required.
type Config struct {
	Targets                     []peers.Target
	TLS                         *tls.Config // nil for none
	ProbeInterval, ProbeTimeout time.Duration
	ResolveInterval             time.Duration
	Lookup                      func(context.Context, peers.Target) ([]string, error)
	Logger                      *slog.Logger
	MeterProvider               metric.MeterProvider
}

// A Conn is a grpc.ClientConnInterface over several addresses. It is safe for
// concurrent use.
type Conn struct {
	cc    *grpc.ClientConn
	peers *peers.Set
	cfg   Config
	safe  sync.Map // full method to bool

	mu     sync.Mutex
	source resolver.ClientConn // nil until gRPC has asked for addresses
}

// New returns a connection, which begins to connect and to probe.
func New(cfg Config) (*Conn, error) {
	c := &Conn{cfg: cfg}
	c.peers = peers.NewSet(peers.Config{
		Name: "server", Targets: cfg.Targets, Probe: c.probe,
		Changed:  func([]*peers.Peer) { c.publish() },
		Interval: cfg.ProbeInterval, Timeout: cfg.ProbeTimeout, Resolve: cfg.ResolveInterval,
		Lookup: cfg.Lookup, Logger: cfg.Logger, MeterProvider: cfg.MeterProvider,
	})
	security := insecure.NewCredentials()
	if cfg.TLS != nil {
		security = credentials.NewTLS(cfg.TLS)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(security),
		grpc.WithResolvers(&source{c.attach}),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"` + policy + `":{}}]}`),
		grpc.WithDisableServiceConfig(),
		grpc.WithContextDialer(connect),
		grpc.WithIdleTimeout(0),
		grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: minBackoff, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxBackoff},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout}),
	}
	var err error
	if c.cc, err = grpc.NewClient(scheme+":///servers", options...); err != nil {
		return nil, err
	}
	c.peers.Start()
	c.cc.Connect()
	return c, nil
}

// connect dials an address of endpointOf, without a proxy.
func connect(ctx context.Context, address string) (net.Conn, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// Close ends the probes and closes the connections.
func (c *Conn) Close() error {
	c.peers.Close()
	return c.cc.Close()
}

// Ready returns why no server serves, nil if one does. The error names addresses.
func (c *Conn) Ready() error {
	if err := c.peers.Ready(); err != nil {
		return fmt.Errorf("no server is ready: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}

// attach is called by gRPC with the receiver of addresses.
func (c *Conn) attach(cc resolver.ClientConn) {
	c.mu.Lock()
	c.source = cc
	c.mu.Unlock()
	c.publish()
}

// publish tells gRPC the addresses. It is silent until there are some, so that calls
// wait for the first look-up.
func (c *Conn) publish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.peers.Peers()
	if c.source == nil || len(all) == 0 {
		return
	}
	state := resolver.State{}
	for _, p := range all {
		state.Endpoints = append(state.Endpoints, endpointOf(p, c.cfg.Targets[p.Target]))
	}
	_ = c.source.UpdateState(state) // an error asks to resolve again, which the set does
}

// probe asks a server whether it serves, over the connection that calls use.
func (c *Conn) probe(ctx context.Context, p *peers.Peer) error {
	answer := new(healthpb.HealthCheckResponse)
	err := c.cc.Invoke(&attempt{Context: ctx, only: p}, healthpb.Health_Check_FullMethodName, &healthpb.HealthCheckRequest{}, answer)
	switch {
	case status.Code(err) == codes.Unimplemented: // it has no health service, and answers
		return nil
	case err != nil:
		return errors.New(status.Convert(err).Message())
	case answer.GetStatus() != healthpb.HealthCheckResponse_SERVING:
		return fmt.Errorf("%w: its health service says %v", peers.ErrUnready, answer.GetStatus())
	}
	return nil
}

// Invoke makes a unary call. A safe read whose server is found to be silent, or whose
// connection breaks before an answer, is tried once more at another one.
func (c *Conn) Invoke(ctx context.Context, method string, request, response any, opts ...grpc.CallOption) error {
	if !c.isSafe(method) {
		return c.cc.Invoke(ctx, method, request, response, opts...)
	}
	first, err := c.try(ctx, nil, method, request, response, opts)
	if err == nil || !first.unheard() || status.Code(err) != codes.Unavailable || ctx.Err() != nil {
		return err
	}
	if m, ok := response.(proto.Message); ok {
		proto.Reset(m)
	}
	second, again := c.try(ctx, first.peer, method, request, response, opts)
	if second.peer == nil { // it could not be sent
		return err
	}
	return again
}

// try makes one attempt of a call, if possible at another peer than except.
func (c *Conn) try(ctx context.Context, except *peers.Peer, method string, request, response any, opts []grpc.CallOption) (*attempt, error) {
	bounded, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a := &attempt{Context: bounded, except: except, cancel: cancel}
	err := c.cc.Invoke(a, method, request, response, opts...)
	a.end()
	return a, leftError(bounded, err)
}

// leftError returns the status of a call that was ended by errLeft.
func leftError(ctx context.Context, err error) error {
	if status.Code(err) == codes.Canceled && context.Cause(ctx) == errLeft {
		return status.Error(codes.Unavailable, errLeft.Error())
	}
	return err
}

// NewStream makes a call that streams. A safe read ends with UNAVAILABLE when its
// server is found to be silent, so that the client can come back.
func (c *Conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if !c.isSafe(method) {
		return c.cc.NewStream(ctx, desc, method, opts...)
	}
	bounded, cancel := context.WithCancelCause(ctx)
	a := &attempt{Context: bounded, cancel: cancel}
	cs, err := c.cc.NewStream(a, desc, method, opts...)
	if err != nil {
		cancel(nil)
		a.end()
		return nil, leftError(bounded, err)
	}
	context.AfterFunc(bounded, func() { a.end() })
	return &stream{ClientStream: cs, ctx: bounded, cancel: cancel}, nil
}

// A stream is one that ends when its server is silent.
type stream struct {
	grpc.ClientStream
	ctx    context.Context
	cancel context.CancelCauseFunc
}

func (s *stream) Header() (metadata.MD, error) {
	md, err := s.ClientStream.Header()
	return md, leftError(s.ctx, err)
}

func (s *stream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err != nil {
		err = leftError(s.ctx, err)
		s.cancel(nil)
	}
	return err
}

func (s *stream) SendMsg(m any) error {
	err := s.ClientStream.SendMsg(m)
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return leftError(s.ctx, err)
}

// isSafe reports whether a method changes nothing, by its .proto: it is bound to GET,
// or its idempotency level says so.
func (c *Conn) isSafe(method string) bool {
	if safe, ok := c.safe.Load(method); ok {
		return safe.(bool)
	}
	safe := declaredSafe(method)
	c.safe.Store(method, safe) // callers make no method names up
	return safe
}

func declaredSafe(method string) bool {
	name := strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", ".")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	m, ok := d.(protoreflect.MethodDescriptor)
	if err != nil || !ok {
		return false
	}
	options, ok := m.Options().(*descriptorpb.MethodOptions)
	if !ok {
		return false
	}
	if options.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS {
		return true
	}
	rule, _ := proto.GetExtension(options, annotations.E_Http).(*annotations.HttpRule)
	return rule.GetGet() != "" || slices.ContainsFunc(rule.GetAdditionalBindings(), func(r *annotations.HttpRule) bool { return r.GetGet() != "" })
}
