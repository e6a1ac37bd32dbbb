package inprocess_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gatehouse-dev/gatehouse/internal/inprocess"
)

// A service has the handlers that a scenario sets.
type service struct {
	unary  func(ctx context.Context, in *wrapperspb.StringValue) (any, error)
	stream func(ss grpc.ServerStream) error
}

type server interface{ isServer() }

func (*service) isServer() {}

const (
	echo    = "/t.v1.T/Echo"
	watch   = "/t.v1.T/Watch"
	collect = "/t.v1.T/Collect"
	chat    = "/t.v1.T/Chat"
)

var (
	watching   = &grpc.StreamDesc{ServerStreams: true}
	collecting = &grpc.StreamDesc{ClientStreams: true}
	chatting   = &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
)

var desc = grpc.ServiceDesc{
	ServiceName: "t.v1.T",
	HandlerType: (*server)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: func(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.StringValue)
		if err := dec(in); err != nil {
			return nil, err
		}
		return interceptor(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: echo}, func(ctx context.Context, req any) (any, error) {
			return srv.(*service).unary(ctx, req.(*wrapperspb.StringValue))
		})
	}}},
	Streams: []grpc.StreamDesc{
		{StreamName: "Watch", ServerStreams: true, Handler: handleStream},
		{StreamName: "Collect", ClientStreams: true, Handler: handleStream},
		{StreamName: "Chat", ServerStreams: true, ClientStreams: true, Handler: handleStream},
	},
}

func handleStream(srv any, ss grpc.ServerStream) error { return srv.(*service).stream(ss) }

// A transcript records what the caller and the service saw, each in its order.
type transcript struct {
	mu             sync.Mutex
	lines, service []string
}

// add records what the caller saw.
func (s *transcript) add(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// served records what the service saw.
func (s *transcript) served(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.service = append(s.service, "service: "+fmt.Sprintf(format, args...))
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(append(slices.Clone(s.service), s.lines...), "\n")
}

// outcome is what a program can see of an error.
func outcome(err error) string {
	if err == nil || err == io.EOF {
		return fmt.Sprint(err)
	}
	st, ok := status.FromError(err)
	return fmt.Sprintf("%v %q %v %t", st.Code(), st.Message(), st.Details(), ok)
}

// shown returns metadata without what grpc-go itself adds on a network.
func shown(md metadata.MD) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(md)) {
		if key != "content-type" && key != "grpc-status-details-bin" && key != "user-agent" && !strings.HasPrefix(key, ":") {
			all = append(all, fmt.Sprintf("%s=%q", key, md[key]))
		}
	}
	return strings.Join(all, " ")
}

func text(s string) *wrapperspb.StringValue { return wrapperspb.String(s) }

func call(ctx context.Context, conn grpc.ClientConnInterface, in string, opts ...grpc.CallOption) (string, error) {
	out := new(wrapperspb.StringValue)
	err := conn.Invoke(ctx, echo, text(in), out, opts...)
	return out.GetValue(), err
}

func receive(s interface{ RecvMsg(any) error }) string {
	m := new(wrapperspb.StringValue)
	if err := s.RecvMsg(m); err != nil {
		return outcome(err)
	}
	return "message " + m.GetValue()
}

const patience = 30 * time.Second

// TestLikeTheNetwork runs each scenario over a grpc.ClientConn and over a Conn. Both
// transcripts must be equal; that of the network must also contain a fragment that
// shows that the scenario has had its effect.
func TestLikeTheNetwork(t *testing.T) {
	t.Parallel()
	for _, all := range [][]scenario{unaryScenarios, metadataScenarios, streamScenarios} {
		for _, sc := range all {
			t.Run(strings.ReplaceAll(sc.name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				network := play(t, sc, dial)
				here := play(t, sc, inProcess)
				if !strings.Contains(network, sc.want) {
					t.Fatalf("the network's transcript lacks %q:\n%s", sc.want, network)
				}
				if here != network {
					t.Errorf("in process:\n%s\n\non the network:\n%s", here, network)
				}
			})
		}
	}
}

// A scenario is one behaviour: serve is the service, ask the caller, and both record
// what they see.
type scenario struct {
	name  string
	want  string // in the transcript
	serve func(tr *transcript) *service
	ask   func(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface)
}

func play(t *testing.T, sc scenario, connect func(*testing.T, *service) grpc.ClientConnInterface) string {
	t.Helper()
	tr := &transcript{}
	conn := connect(t, sc.serve(tr))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	sc.ask(ctx, tr, conn)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Fatalf("%s took longer than %v:\n%s", sc.name, patience, tr)
	}
	return tr.String()
}

// pass is an interceptor that does nothing, so that there is a chain.
func passUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	return handler(ctx, req)
}

func passStream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return handler(srv, ss)
}

func inProcess(t *testing.T, s *service) grpc.ClientConnInterface {
	return inProcessVia(t, s, passStream)
}

func inProcessVia(_ *testing.T, s *service, last ...grpc.StreamServerInterceptor) grpc.ClientConnInterface {
	conn := inprocess.New(inprocess.Config{
		Unary: []grpc.UnaryServerInterceptor{passUnary, passUnary}, Stream: append([]grpc.StreamServerInterceptor{passStream}, last...),
	})
	conn.RegisterService(&desc, s)
	return conn
}

func dial(t *testing.T, s *service) grpc.ClientConnInterface { return dialVia(t, s, passStream) }

func dialVia(t *testing.T, s *service, last ...grpc.StreamServerInterceptor) grpc.ClientConnInterface {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(grpc.ChainUnaryInterceptor(passUnary, passUnary), grpc.ChainStreamInterceptor(append([]grpc.StreamServerInterceptor{passStream}, last...)...))
	srv.RegisterService(&desc, s)
	go func() { _ = srv.Serve(listener) }()
	t.Cleanup(srv.Stop)
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// stream opens a stream; an error is recorded.
func stream(ctx context.Context, tr *transcript, conn grpc.ClientConnInterface, d *grpc.StreamDesc, method string, opts ...grpc.CallOption) grpc.ClientStream {
	s, err := conn.NewStream(ctx, d, method, opts...)
	if err != nil {
		tr.add("stream: %s", outcome(err))
		return nil
	}
	return s
}

// fails returns a service whose calls all end with an error.
func fails(err error) func(*transcript) *service {
	return func(*transcript) *service {
		return &service{
			unary:  func(context.Context, *wrapperspb.StringValue) (any, error) { return nil, err },
			stream: func(grpc.ServerStream) error { return err },
		}
	}
}

// echoes returns a service that answers what it receives.
func echoes(*transcript) *service {
	return &service{
		unary: func(_ context.Context, in *wrapperspb.StringValue) (any, error) { return in, nil },
		stream: func(ss grpc.ServerStream) error {
			for {
				m := new(wrapperspb.StringValue)
				if err := ss.RecvMsg(m); err == io.EOF {
					return nil
				} else if err != nil {
					return err
				}
				if err := ss.SendMsg(m); err != nil {
					return err
				}
			}
		},
	}
}

var errNotFound = func() error {
	st, err := status.New(codes.NotFound, "no such thing").WithDetails(text("detail"))
	if err != nil {
		panic(err)
	}
	return st.Err()
}()
