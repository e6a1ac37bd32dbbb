package inprocess

import (
	"cmp"
	"context"
	"math"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Config configures a [Conn].
type Config struct {
	// Unary and Stream are the interceptors that calls pass, outermost first.
	Unary  []grpc.UnaryServerInterceptor
	Stream []grpc.StreamServerInterceptor
	// MaxReceiveBytes bounds a message to a service. Default: 4 MiB, as in grpc-go.
	MaxReceiveBytes int
	// MaxSendBytes bounds a message from a service. Default: no limit, as in grpc-go.
	MaxSendBytes int
	// Begin is called before each call and may refuse it. End is called after each
	// call that Begin has admitted.
	Begin func() error
	End   func()
}

// defaultMaxBytes is the default of grpc-go, for servers and clients.
const defaultMaxBytes = 4 << 20

// A Conn is client and server of every call. It is safe for concurrent use when all
// services are registered.
type Conn struct {
	cfg      Config             // with its defaults
	methods  map[string]*method // by full name, "/package.Service/Method"
	services map[string]bool
	unary    grpc.UnaryServerInterceptor // nil for none
	stream   grpc.StreamServerInterceptor
}

var (
	_ grpc.ClientConnInterface = (*Conn)(nil)
	_ grpc.ServiceRegistrar    = (*Conn)(nil)
)

// A method is unary or a stream.
type method struct {
	name   string // full
	impl   any
	unary  *grpc.MethodDesc
	stream *grpc.StreamDesc
}

// New returns a Conn without services.
func New(cfg Config) *Conn {
	cfg.MaxSendBytes = cmp.Or(cfg.MaxSendBytes, math.MaxInt)
	cfg.MaxReceiveBytes = cmp.Or(cfg.MaxReceiveBytes, defaultMaxBytes)
	if cfg.Begin == nil {
		cfg.Begin = func() error { return nil }
	}
	if cfg.End == nil {
		cfg.End = func() {}
	}
	c := &Conn{cfg: cfg, methods: map[string]*method{}, services: map[string]bool{}, stream: ChainStream(cfg.Stream)}
	if len(cfg.Unary) > 0 {
		c.unary = c.pass
	}
	return c
}

// RegisterService implements grpc.ServiceRegistrar.
func (c *Conn) RegisterService(desc *grpc.ServiceDesc, impl any) {
	c.services[desc.ServiceName] = true
	add := func(name string, m method) {
		m.name, m.impl = "/"+desc.ServiceName+"/"+name, impl
		c.methods[m.name] = &m
	}
	for i := range desc.Methods {
		add(desc.Methods[i].MethodName, method{unary: &desc.Methods[i]})
	}
	for i := range desc.Streams {
		add(desc.Streams[i].StreamName, method{stream: &desc.Streams[i]})
	}
}

// HasMethod reports whether the server has a method of this full name,
// "/package.Service/Method". The gateway finds HasMethod by type assertion and
// refuses to start with a service that is not registered.
func (c *Conn) HasMethod(name string) bool { return c.methods[name] != nil }

// find returns a method, or the error of grpc-go if there is none. A name without
// its first slash is malformed (CVE-2026-33186).
func (c *Conn) find(name string) (*method, error) {
	if m, ok := c.methods[name]; ok {
		return m, nil
	}
	rest, ok := strings.CutPrefix(name, "/")
	cut := strings.LastIndexByte(rest, '/')
	if !ok || cut < 0 {
		return nil, status.Errorf(codes.Unimplemented, "malformed method name: %q", name)
	}
	service, of := rest[:cut], rest[cut+1:]
	if c.services[service] {
		return nil, status.Errorf(codes.Unimplemented, "unknown method %v for service %v", of, service)
	}
	return nil, status.Errorf(codes.Unimplemented, "unknown service %v", service)
}

// Invoke implements grpc.ClientConnInterface.
func (c *Conn) Invoke(ctx context.Context, name string, req, resp any, opts ...grpc.CallOption) error {
	m, err := c.find(name)
	if err != nil {
		return err
	}
	if m.unary == nil {
		return c.invokeStream(ctx, name, req, resp, opts)
	}
	o, err := newOptions(opts)
	if err != nil {
		return err
	}
	u := &unaryCall{call: call{method: name}, request: req}
	err = c.invoke(ctx, m, u, req, resp, &o)
	u.finish()
	o.after(opts, &u.call, err)
	return err
}

// A unaryCall is everything that belongs to a unary call.
type unaryCall struct {
	call
	served  served
	request any
}

// invokeStream makes a unary call of a stream method, which a grpc.ClientConn
// allows.
func (c *Conn) invokeStream(ctx context.Context, name string, req, resp any, opts []grpc.CallOption) error {
	s, err := c.NewStream(ctx, &grpc.StreamDesc{}, name, opts...)
	if err != nil {
		return err
	}
	if err := s.SendMsg(req); err != nil {
		return err
	}
	return s.RecvMsg(resp)
}

// invoke runs the handler of a unary method in the caller's goroutine.
func (c *Conn) invoke(ctx context.Context, m *method, u *unaryCall, req, resp any, o *options) (err error) {
	if err := ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	if err := checkWithin(req, o.maxSend, c.cfg.MaxReceiveBytes); err != nil {
		return err
	}
	if err := u.served.begin(ctx, &u.call, o); err != nil {
		return err
	}
	defer u.served.End() // as grpc.Server does when a handler has returned
	if err := c.cfg.Begin(); err != nil {
		return err
	}
	defer c.cfg.End()
	answer, err := m.unary.Handler(m.impl, &u.served, u.decode, c.unary)
	if ended := ctx.Err(); ended != nil {
		return status.FromContextError(ended).Err() // over a network, the caller would not have waited
	}
	if err != nil {
		return overTheWire(err)
	}
	if err := checkWithin(answer, c.cfg.MaxSendBytes, o.maxReceive); err != nil {
		return err
	}
	return copyTo(resp, answer, "failed to unmarshal the received message")
}

// decode gives the handler its request, which belongs to the caller again when the call has ended.
func (u *unaryCall) decode(v any) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return status.Error(codes.Internal, "grpc: error unmarshalling request: the call has ended")
	}
	return copyTo(v, u.request, "error unmarshalling request")
}

// overTheWire returns what the caller gets of a handler's error: its status, without
// any error that it wraps.
func overTheWire(err error) error {
	st, ok := status.FromError(err)
	if !ok {
		st = status.FromContextError(err)
	}
	if st.Code() == codes.OK { // an error with the code OK, which no answer follows
		return status.Error(codes.Internal, "cardinality violation: received no response message from non-server-streaming RPC")
	}
	return st.Err()
}

// pass is the way of a call through the interceptors, which begins with the context that it was
// given.
func (c *Conn) pass(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if s, ok := ctx.(*served); ok && s.passage.next == nil {
		return s.passage.begin(ctx, req, c.cfg.Unary, info, handler)
	}
	return new(passage).begin(ctx, req, c.cfg.Unary, info, handler)
}

// ChainUnary combines interceptors into one, nil if there are none. An interceptor may call its
// handler again after it has returned, but not concurrently.
func ChainUnary(all []grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	if len(all) < 2 {
		return first(all)
	}
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		return new(passage).begin(ctx, req, all, info, handler)
	}
}

// A passage is one call's way through interceptors. All of them get the same handler: a closure for
// each would be a fifth of the allocations of a call.
type passage struct {
	all     []grpc.UnaryServerInterceptor
	at      int // index of the next one
	info    *grpc.UnaryServerInfo
	handler grpc.UnaryHandler
	next    grpc.UnaryHandler // call
}

func (p *passage) begin(ctx context.Context, req any, all []grpc.UnaryServerInterceptor, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	*p = passage{all: all, info: info, handler: handler}
	p.next = p.call
	return p.call(ctx, req)
}

func (p *passage) call(ctx context.Context, req any) (any, error) {
	at := p.at
	if at == len(p.all) {
		return p.handler(ctx, req)
	}
	p.at++
	resp, err := p.all[at](ctx, req, p.info, p.next)
	p.at = at
	return resp, err
}

// ChainStream is [ChainUnary] for streams.
func ChainStream(all []grpc.StreamServerInterceptor) grpc.StreamServerInterceptor {
	if len(all) < 2 {
		return first(all)
	}
	rest := ChainStream(all[1:])
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return all[0](srv, ss, info, func(srv any, ss grpc.ServerStream) error { return rest(srv, ss, info, handler) })
	}
}

func first[T any](all []T) (none T) {
	if len(all) == 0 {
		return none
	}
	return all[0]
}

// NewStream implements grpc.ClientConnInterface.
func (c *Conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, name string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	m, err := c.find(name)
	if err != nil {
		return nil, err
	}
	o, err := newOptions(opts)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	s := &stream{call: call{method: name, headed: make(chan struct{})}, cfg: &c.cfg}
	inner := new(served)
	if err := inner.begin(ctx, &s.call, &o); err != nil {
		return nil, err
	}
	if err := c.cfg.Begin(); err != nil {
		inner.End()
		return nil, err
	}
	server := &serverStream{stream: s, ctx: inner, clientStreams: m.stream != nil && m.stream.ClientStreams}
	go func() {
		defer c.cfg.End()
		defer inner.End()
		s.close(c.serve(m, server))
	}()
	return &clientStream{stream: s, ctx: ctx, cancel: inner.End, desc: desc, options: o, opts: opts}, nil
}

// serve runs the handler of a stream, or of a unary method that is called as a
// stream.
func (c *Conn) serve(m *method, ss *serverStream) error {
	if m.unary != nil {
		answer, err := m.unary.Handler(m.impl, ss.ctx, ss.RecvMsg, c.unary)
		if err != nil {
			return err
		}
		return ss.SendMsg(answer)
	}
	if c.stream == nil {
		return m.stream.Handler(m.impl, ss)
	}
	info := &grpc.StreamServerInfo{FullMethod: m.name, IsClientStream: m.stream.ClientStreams, IsServerStream: m.stream.ServerStreams}
	return c.stream(m.impl, ss, info, m.stream.Handler)
}

// minimalHeader is part of every header that a network transmits.
var minimalHeader = metadata.MD{"content-type": {"application/grpc"}}
