package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/gatehouse-dev/gatehouse/client"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// The methods of a test service. Read and Put declare an idempotency_level.
const (
	read   = "/clienttest.v1.Service/Read"
	put    = "/clienttest.v1.Service/Put"
	create = "/clienttest.v1.Service/Create"
	watch  = "/clienttest.v1.Service/Watch"
)

func init() {
	file := new(descriptorpb.FileDescriptorProto)
	err := prototext.Unmarshal([]byte(`
		name: "clienttest/v1/service.proto" package: "clienttest.v1" syntax: "proto3" dependency: "google/protobuf/empty.proto"
		service { name: "Service"
			method { name: "Read" input_type: ".google.protobuf.Empty" output_type: ".google.protobuf.Empty" options { idempotency_level: NO_SIDE_EFFECTS } }
			method { name: "Put" input_type: ".google.protobuf.Empty" output_type: ".google.protobuf.Empty" options { idempotency_level: IDEMPOTENT } }
			method { name: "Create" input_type: ".google.protobuf.Empty" output_type: ".google.protobuf.Empty" }
			method { name: "Watch" input_type: ".google.protobuf.Empty" output_type: ".google.protobuf.Empty" server_streaming: true }
		}`), file)
	if err != nil {
		panic(err)
	}
	desc, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		panic(err)
	}
	if err := protoregistry.GlobalFiles.RegisterFile(desc); err != nil {
		panic(err)
	}
}

// server is a gRPC server that records the metadata of its calls.
type server struct {
	address string
	answer  func(ctx context.Context, n int) error // n counts from 1

	mu    sync.Mutex
	calls []metadata.MD
}

func (s *server) handle(_ any, stream grpc.ServerStream) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	s.mu.Lock()
	s.calls = append(s.calls, md)
	n := len(s.calls)
	s.mu.Unlock()
	if err := stream.RecvMsg(new(emptypb.Empty)); err != nil {
		return err
	}
	if s.answer != nil {
		if err := s.answer(stream.Context(), n); err != nil {
			return err
		}
	}
	return stream.SendMsg(new(emptypb.Empty))
}

// seen returns the value of a metadata key in each call.
func (s *server) seen(key string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, md := range s.calls {
		all = append(all, strings.Join(md.Get(key), "|"))
	}
	return all
}

func serve(t *testing.T, s *server, options ...grpc.ServerOption) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	g := grpc.NewServer(append(options, grpc.UnknownServiceHandler(s.handle))...)
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-done })
	return s
}

func dial(t *testing.T, cfg client.Config) *grpc.ClientConn {
	t.Helper()
	conn, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func call(ctx context.Context, conn *grpc.ClientConn, method string) error {
	return conn.Invoke(ctx, method, new(emptypb.Empty), new(emptypb.Empty))
}

// tokens returns a source whose token endpoint gives the answers, one after the other.
func tokens(t *testing.T, answers ...answer) (*client.TokenSource, *provider) {
	t.Helper()
	p := &provider{answers: answers}
	endpoint := httptest.NewServer(p)
	t.Cleanup(endpoint.Close)
	return source(t, client.Credentials{TokenURL: endpoint.URL, ClientID: "robot", ClientSecret: clientSecret}), p
}

// TestTokenSent: calls carry the token over TLS, and in plaintext on loopback.
func TestTokenSent(t *testing.T) {
	t.Parallel()
	certificate, authorities := selfSigned(t)
	secure := serve(t, &server{}, grpc.Creds(credentials.NewServerTLSFromCert(&certificate)))
	plain := serve(t, &server{})
	source, provider := tokens(t, token("t1", ""))
	for name, c := range map[string]struct {
		server *server
		cfg    client.Config
	}{
		"TLS":       {secure, client.Config{TLS: &tls.Config{RootCAs: authorities}}},
		"plaintext": {plain, client.Config{Plaintext: true}},
	} {
		c.cfg.Target, c.cfg.Tokens = c.server.address, source
		conn := dial(t, c.cfg)
		for range 3 {
			if err := call(t.Context(), conn, create); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if got := c.server.seen("authorization"); !cmp.Equal(got, []string{"Bearer t1", "Bearer t1", "Bearer t1"}) {
			t.Errorf("%s: %q", name, got)
		}
	}
	if n := provider.requests(); n != 1 {
		t.Errorf("two connections requested %d tokens, want 1", n)
	}
	// A server with an untrusted certificate gets no token.
	untrusting := dial(t, client.Config{Target: secure.address, Tokens: source})
	if err := call(t.Context(), untrusting, create); status.Code(err) != codes.Unavailable || len(secure.seen("authorization")) != 3 {
		t.Errorf("untrusted certificate: %v", err)
	}
	// A server without TLS gets none either.
	if err := call(t.Context(), dial(t, client.Config{Target: plain.address, Tokens: source}), create); err == nil || len(plain.seen("authorization")) != 3 {
		t.Errorf("server without TLS: %v", err)
	}
}

// TestRetry: idempotent methods are retried while the server is unavailable, others are not.
func TestRetry(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method string
		code   codes.Code
		calls  int
	}{
		{read, codes.Unavailable, 3},
		{put, codes.Unavailable, 3},
		{create, codes.Unavailable, 1},
		{read, codes.Internal, 1},
	} {
		s := serve(t, &server{answer: func(_ context.Context, n int) error {
			if n < 3 {
				return status.Error(c.code, "down")
			}
			return nil
		}})
		err := call(t.Context(), dial(t, client.Config{Target: s.address, Plaintext: true}), c.method)
		if got := len(s.seen("x-request-id")); got != c.calls || (err == nil) != (c.calls == 3) {
			t.Errorf("%s, %v: %d calls, %v; want %d", c.method, c.code, got, err, c.calls)
		}
		if ids := s.seen("x-request-id"); ids[0] == "" || ids[0] != ids[len(ids)-1] {
			t.Errorf("%s: the attempts have different ids: %q", c.method, ids)
		}
	}
}

// TestDeadline: a unary call without a deadline gets one, which limits the wait for a token too.
// A deadline of the caller is kept, and a stream gets none.
func TestDeadline(t *testing.T) {
	t.Parallel()
	lefts := make(chan time.Duration, 1)
	s := serve(t, &server{answer: func(ctx context.Context, _ int) error {
		deadline, ok := ctx.Deadline()
		if !ok {
			lefts <- 0
			return nil
		}
		lefts <- time.Until(deadline)
		return nil
	}})
	hour, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for _, c := range []struct {
		name    string
		ctx     context.Context
		timeout time.Duration
		want    time.Duration
	}{
		{"default", t.Context(), 0, client.DefaultTimeout},
		{"set", t.Context(), time.Minute, time.Minute},
		{"the caller's", hour, time.Minute, time.Hour},
	} {
		if err := call(c.ctx, dial(t, client.Config{Target: s.address, Plaintext: true, Timeout: c.timeout}), create); err != nil {
			t.Fatal(err)
		}
		if left := <-lefts; left > c.want || left < c.want*9/10-time.Second {
			t.Errorf("%s: %v left, want %v", c.name, left, c.want)
		}
	}
	stream, err := dial(t, client.Config{Target: s.address, Plaintext: true}).NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, watch)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(new(emptypb.Empty)); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(new(emptypb.Empty)); err != nil {
		t.Fatal(err)
	}
	if left := <-lefts; left != 0 {
		t.Errorf("a stream has %v", left)
	}
	// The wait for a provider that does not answer is limited too.
	unanswered := httptest.NewUnstartedServer(nil)
	t.Cleanup(unanswered.Close)
	waiting := source(t, client.Credentials{TokenURL: "http://" + unanswered.Listener.Addr().String(), ClientID: "robot", ClientSecret: "x"})
	begin := time.Now()
	err = call(t.Context(), dial(t, client.Config{Target: s.address, Plaintext: true, Tokens: waiting, Timeout: 50 * time.Millisecond}), create)
	if status.Code(err) != codes.DeadlineExceeded || time.Since(begin) > 4*time.Second {
		t.Errorf("provider without an answer: %v after %v", err, time.Since(begin))
	}
}

// TestPropagation: a call made while a request is served carries its id and trace context, and
// nothing else of it.
func TestPropagation(t *testing.T) {
	t.Parallel()
	s := serve(t, &server{})
	conn := dial(t, client.Config{Target: s.address, Plaintext: true})
	served := metadata.NewIncomingContext(requestid.NewContext(t.Context(), "id-1"), metadata.Pairs(
		"traceparent", "00-1-2-01", "tracestate", "a=1", "authorization", "Bearer of-the-caller", "cookie", "session=1", "accept-language", "de"))
	if err := call(served, conn, create); err != nil {
		t.Fatal(err)
	}
	own := metadata.AppendToOutgoingContext(served, "x-request-id", "mine", "traceparent", "00-3-4-01")
	stream, err := conn.NewStream(own, &grpc.StreamDesc{ServerStreams: true}, watch)
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.SendMsg(new(emptypb.Empty))
	if err := stream.RecvMsg(new(emptypb.Empty)); err != nil {
		t.Fatal(err)
	}
	if err := call(metadata.NewIncomingContext(t.Context(), metadata.Pairs("x-request-id", "bad id")), conn, create); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string][]string{
		"x-request-id": {"id-1", "mine"}, "traceparent": {"00-1-2-01", "00-3-4-01", ""}, "tracestate": {"a=1", "", ""},
		"authorization": {"", "", ""}, "cookie": {"", "", ""}, "accept-language": {"", "", ""},
	} {
		got := s.seen(key)
		if key == "x-request-id" {
			if fresh := got[2]; !requestid.Valid(fresh) {
				t.Errorf("the last id is %q", fresh)
			}
			got = got[:2]
		}
		if !cmp.Equal(got, want) {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
}

// TestTokenRefused: a token that a server refuses is replaced once it is older than a second. A
// refusal by the provider is Unauthenticated, a failure Unavailable.
func TestTokenRefused(t *testing.T) {
	t.Parallel()
	refused, err := status.New(codes.Unauthenticated, "no").WithDetails(&errdetails.ErrorInfo{Domain: "gatehouse", Reason: "TOKEN_REVOKED"})
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, &server{answer: func(ctx context.Context, _ int) error {
		if md, _ := metadata.FromIncomingContext(ctx); md.Get("authorization")[0] == "Bearer t1" {
			return refused.Err()
		}
		return nil
	}})
	for name, do := range map[string]func(*grpc.ClientConn) error{
		"unary": func(conn *grpc.ClientConn) error { return call(t.Context(), conn, create) },
		"stream": func(conn *grpc.ClientConn) error {
			stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, watch)
			if err != nil {
				return err
			}
			_ = stream.SendMsg(new(emptypb.Empty))
			return stream.RecvMsg(new(emptypb.Empty))
		},
	} {
		source, provider := tokens(t, token("t1", ""), token("t2", ""))
		conn := dial(t, client.Config{Target: s.address, Plaintext: true, Tokens: source})
		deadline := time.Now().Add(10 * time.Second)
		for err = do(conn); err != nil && time.Now().Before(deadline); err = do(conn) {
			if status.Code(err) != codes.Unauthenticated {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if err != nil || provider.requests() != 2 {
			t.Errorf("%s: %v after %d tokens", name, err, provider.requests())
		}
	}
	for name, c := range map[string]struct {
		answer answer
		code   codes.Code
	}{
		"wrong secret": {answer{401, `{"error":"invalid_client","error_description":"` + "echo" + `"}`}, codes.Unauthenticated},
		"down":         {answer{503, "<html>" + clientSecret}, codes.Unavailable},
		"busy":         {answer{429, "{}"}, codes.Unavailable},
		"no token":     {answer{200, "{}"}, codes.Unavailable},
	} {
		source, _ := tokens(t, c.answer)
		err := call(t.Context(), dial(t, client.Config{Target: s.address, Plaintext: true, Tokens: source}), create)
		if status.Code(err) != c.code || strings.Contains(err.Error(), clientSecret) {
			t.Errorf("%s: %v, want %v", name, err, c.code)
		}
	}
}

func TestConfigRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cfg  client.Config
		want string // "" for none
	}{
		"no target":                       {client.Config{}, "Target is missing"},
		"a negative timeout":              {client.Config{Target: "dns:///a:1", Timeout: -1}, "Timeout"},
		"plaintext with TLS":              {client.Config{Target: "localhost:1", Plaintext: true, TLS: &tls.Config{}}, "exclude"},
		"insecure without plaintext":      {client.Config{Target: "a:1", InsecureTokensInClear: true}, "InsecureTokensInClear"},
		"a URL":                           {client.Config{Target: "dns:///%zz:1"}, "Target"},
		"across a network":                {client.Config{Target: "dns:///catalog.internal:9090", Plaintext: true}, "in the clear"},
		"an address":                      {client.Config{Target: "10.0.0.1:9090", Plaintext: true}, "in the clear"},
		"a name like it":                  {client.Config{Target: "localhost.example:9090", Plaintext: true}, "in the clear"},
		"another name server's localhost": {client.Config{Target: "dns://10.0.0.1/localhost:9090", Plaintext: true}, "in the clear"},
		"another resolver":                {client.Config{Target: "xds:///localhost:9090", Plaintext: true}, "in the clear"},
		"no port":                         {client.Config{Target: "localhost", Plaintext: true}, "in the clear"},
		"by name":                         {client.Config{Target: "localhost:9090", Plaintext: true}, ""},
		"by name and scheme":              {client.Config{Target: "dns:///localhost:9090", Plaintext: true}, ""},
		"by name and short scheme":        {client.Config{Target: "dns:localhost:9090", Plaintext: true}, ""},
		"by address":                      {client.Config{Target: "passthrough:///127.0.0.1:9090", Plaintext: true}, ""},
		"by IPv6 address":                 {client.Config{Target: "[::1]:9090", Plaintext: true}, ""},
		"allowed as insecure":             {client.Config{Target: "dns:///catalog.mesh:9090", Plaintext: true, InsecureTokensInClear: true}, ""},
	} {
		conn, err := client.New(c.cfg)
		if err == nil {
			_ = conn.Close()
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// selfSigned returns a certificate for 127.0.0.1 and a pool that trusts it.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
