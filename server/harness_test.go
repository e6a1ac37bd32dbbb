package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/oidc"
	"github.com/gatehouse-dev/gatehouse/server"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

const audience = "https://api.example"

// A probe is a service whose methods a test defines.
type probe struct {
	unary  func(ctx context.Context, text string) (string, error)
	stream func(ss grpc.ServerStream) error
}

type prober interface{ isProbe() }

func (*probe) isProbe() {}

// The methods of the probe: each kind once for callers with a token and once public.
const (
	echo      = "/probe.v1.Probe/Echo"
	scoped    = "/probe.v1.Probe/Scoped"
	openEcho  = "/probe.v1.Probe/OpenEcho"
	watch     = "/probe.v1.Probe/Watch"
	collect   = "/probe.v1.Probe/Collect"
	chat      = "/probe.v1.Probe/Chat"
	openWatch = "/probe.v1.Probe/OpenWatch"
)

var probeDesc = grpc.ServiceDesc{
	ServiceName: "probe.v1.Probe",
	HandlerType: (*prober)(nil),
	Methods:     []grpc.MethodDesc{unaryMethod("Echo", echo), unaryMethod("Scoped", scoped), unaryMethod("OpenEcho", openEcho)},
	Streams: []grpc.StreamDesc{
		{StreamName: "Watch", ServerStreams: true, Handler: streamHandler},
		{StreamName: "Collect", ClientStreams: true, Handler: streamHandler},
		{StreamName: "Chat", ServerStreams: true, ClientStreams: true, Handler: streamHandler},
		{StreamName: "OpenWatch", ServerStreams: true, Handler: streamHandler},
	},
}

// unaryMethod is what protoc-gen-go-grpc generates for a method.
func unaryMethod(name, full string) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.StringValue)
		if err := dec(in); err != nil {
			return nil, err
		}
		handler := func(ctx context.Context, req any) (any, error) {
			text, err := srv.(*probe).unary(ctx, req.(*wrapperspb.StringValue).GetValue())
			if err != nil {
				return nil, err
			}
			return wrapperspb.String(text), nil
		}
		if interceptor == nil {
			return handler(ctx, in)
		}
		return interceptor(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: full}, handler)
	}}
}

func streamHandler(srv any, ss grpc.ServerStream) error { return srv.(*probe).stream(ss) }

// A system is a server with a probe, and connections over the network and in process.
type system struct {
	*server.Server
	probe   *probe
	issuer  *tokentest.Issuer
	address string
	ways    map[string]grpc.ClientConnInterface
	log     *logBuffer
	served  chan error // what Serve returned
}

// newIssuer returns an issuer that does not listen.
func newIssuer(t *testing.T) *tokentest.Issuer {
	t.Helper()
	return tokentest.NewUnserved(t, "https://issuer.example")
}

// newConfig returns the configuration of a server with a probe and the issuer's
// keys. If issuer is nil, the caller adds a Provider.
func newConfig(t *testing.T, issuer *tokentest.Issuer, p *probe) server.Config {
	t.Helper()
	cfg := server.Config{
		Authn:    authn.Config{Audience: audience},
		Register: func(r grpc.ServiceRegistrar) { r.RegisterService(&probeDesc, p) },
		Policies: map[string]*authv1.Policy{
			openEcho:  {Public: true},
			openWatch: {Public: true},
			scoped:    {Scopes: []string{"write"}},
		},
	}
	if issuer == nil {
		return cfg
	}
	var err error
	cfg.Authn.Provider, err = oidc.NewProvider(oidc.Config{Issuer: issuer.URL, HTTPClient: issuer.Client()})
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.Authn.Provider.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// start starts a server on loopback; change may be nil.
func start(t *testing.T, p *probe, change func(*server.Config)) *system {
	t.Helper()
	s := &system{probe: p, issuer: newIssuer(t), log: &logBuffer{}, served: make(chan error, 1)}
	cfg := newConfig(t, s.issuer, p)
	cfg.Logger = slog.New(logs.Handler(slog.NewJSONHandler(s.log, nil)))
	if change != nil {
		change(&cfg)
	}
	var err error
	if s.Server, err = server.New(cfg); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	go func() { s.served <- s.Serve(listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Shutdown(ctx)
	})
	s.ways = map[string]grpc.ClientConnInterface{"in process": s.Conn(), "network": s.dial(t)}
	return s
}

func (s *system) dial(t *testing.T, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(s.address, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// authorized returns a context for calls with a valid token with these claims.
func (s *system) authorized(ctx context.Context, claims map[string]any) context.Context {
	all := map[string]any{"aud": audience}
	maps.Copy(all, claims)
	return withToken(ctx, s.issuer.Mint(all))
}

func withToken(ctx context.Context, raw string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+raw)
}

func invoke(ctx context.Context, conn grpc.ClientConnInterface, method, text string) (string, error) {
	var out wrapperspb.StringValue
	err := conn.Invoke(ctx, method, wrapperspb.String(text), &out)
	return out.GetValue(), err
}

// open opens a stream of any kind.
func open(ctx context.Context, t *testing.T, conn grpc.ClientConnInterface, method string) grpc.ClientStream {
	t.Helper()
	cs, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return cs
}

func receive(cs grpc.ClientStream) (string, error) {
	var out wrapperspb.StringValue
	err := cs.RecvMsg(&out)
	return out.GetValue(), err
}

func reason(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

// A logBuffer collects log lines.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// lines returns the records so far. The record of a call may follow its answer, so
// stop the server first.
func (b *logBuffer) lines(t *testing.T) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for decoder := json.NewDecoder(bytes.NewBufferString(b.String())); decoder.More(); {
		line := map[string]any{}
		if err := decoder.Decode(&line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return lines
}

const patience = 30 * time.Second
