//go:build linux

package rows

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/gatehouse-dev/gatehouse/bench/internal/proc"
	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/catalog"
)

// networks returns the rows that rows of several processes are judged by: what the libraries cost
// that carry a request from process to process, and nothing else.
func networks() []Row {
	return []Row{
		{
			Name: "grpc-gateway-remote", Title: "grpc-gateway and a gRPC server, two processes, no authentication", Product: "grpc-gateway", Credential: None,
			Caches: "nothing", Logs: "nothing", Start: startPlainRemote,
		},
		{
			Name: "reverse-proxy", Title: "httputil.ReverseProxy in front of the floor's handler, which is not measured", Product: Reference, Credential: None,
			Caches: "nothing", Logs: "nothing", Start: startProxy,
		},
	}
}

const (
	roleGRPC        = "grpc-server"
	rolePlainRemote = "grpc-gateway-remote"
	roleProxy       = "reverse-proxy"
)

func startPlainRemote(ctx context.Context, e *Env) (*Target, error) {
	server, target, err := e.LaunchRole(ctx, roleGRPC)
	if err != nil {
		return nil, err
	}
	gateway, address, err := e.LaunchRole(ctx, rolePlainRemote, target)
	if err != nil {
		return nil, err
	}
	return &Target{Address: address, Processes: []*proc.Process{gateway, server}}, nil
}

func startProxy(ctx context.Context, e *Env) (*Target, error) {
	_, behind, err := e.LaunchRole(ctx, roleFloor)
	if err != nil {
		return nil, err
	}
	p, address, err := e.LaunchRole(ctx, roleProxy, behind)
	if err != nil {
		return nil, err
	}
	return &Target{Address: address, Processes: []*proc.Process{p}}, nil
}

// serveGRPC serves gRPC with the defaults of grpc-go.
func serveGRPC(ctx context.Context, address string, _ []string) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	audioarchivev1.RegisterStatusServiceServer(server, catalog.Status{})
	defer context.AfterFunc(ctx, server.Stop)()
	return server.Serve(l)
}

// servePlainRemote serves grpc-gateway with its defaults in front of a server.
func servePlainRemote(ctx context.Context, address string, args []string) error {
	conn, err := grpc.NewClient(args[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	mux := runtime.NewServeMux()
	if err := audioarchivev1.RegisterStatusServiceHandlerClient(ctx, mux, audioarchivev1.NewStatusServiceClient(conn)); err != nil {
		return err
	}
	return ListenAndServe(ctx, address, mux)
}

// serveProxy serves the proxy of the standard library, with as many idle connections as clients and
// without an allocation of a buffer for each answer.
func serveProxy(ctx context.Context, address string, args []string) error {
	transport := &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}
	behind := &url.URL{Scheme: "http", Host: args[0]}
	return ListenAndServe(ctx, address, &httputil.ReverseProxy{
		Transport:  transport,
		BufferPool: &buffers{},
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(behind) },
	})
}

// buffers is an httputil.BufferPool.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
