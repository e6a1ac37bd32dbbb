package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/gatehouse-dev/gatehouse/internal/loopback"
)

// DefaultTimeout bounds a unary call that has no deadline, when Config.Timeout
// is zero.
const DefaultTimeout = 10 * time.Second

// Config says whom to call, and as whom. Target is required; the zero value of
// everything else is safe.
type Config struct {
	// Target is the server, as gRPC names it, such as
	// "dns:///catalog.internal:9090".
	Target string
	// Tokens gives each call its token. Several connections may share one. Nil
	// sends none: only public methods answer.
	Tokens *TokenSource
	// TLS says which authorities are believed, and which certificate is shown;
	// nil means the system's authorities, and none.
	TLS *tls.Config
	// Plaintext connects without TLS, to loopback alone.
	Plaintext bool
	// InsecureTokensInClear lets Plaintext reach other machines. Whoever sees
	// the traffic can then use the tokens; it is for networks that encrypt by
	// themselves, such as a service mesh.
	InsecureTokensInClear bool
	// Timeout bounds a unary call that has no deadline, attempts and the wait
	// for a token included; 0 means 10 s. A stream has none.
	Timeout time.Duration
	// Options are added to those of this package, after them.
	Options []grpc.DialOption
}

// New makes a connection, which dials when it is first used. Close it.
//
// Methods whose .proto says that they are idempotent (idempotency_level) are
// tried up to 4 times while the server is UNAVAILABLE, others once: a server
// that vanishes in the middle may have done what it was asked.
func New(cfg Config) (*grpc.ClientConn, error) {
	options, err := cfg.dialOptions()
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(cfg.Target, options...)
	if err != nil {
		return nil, fmt.Errorf("client: Target %q: %w", cfg.Target, err)
	}
	return conn, nil
}

func (cfg Config) dialOptions() ([]grpc.DialOption, error) {
	switch {
	case cfg.Target == "":
		return nil, errors.New("client: Target is empty: name the server, such as \"dns:///catalog.internal:9090\"")
	case cfg.Timeout < 0:
		return nil, fmt.Errorf("client: Timeout is %v: give a positive duration, or 0 for %v", cfg.Timeout, DefaultTimeout)
	case cfg.Plaintext && cfg.TLS != nil:
		return nil, errors.New("client: Plaintext and TLS exclude each other: leave out one")
	case cfg.InsecureTokensInClear && !cfg.Plaintext:
		return nil, errors.New("client: InsecureTokensInClear means nothing without Plaintext: leave it out")
	case cfg.Plaintext && !cfg.InsecureTokensInClear && !onLoopback(cfg.Target):
		return nil, fmt.Errorf("client: Plaintext, and Target %q is not on loopback: the tokens would cross a network in the clear; leave Plaintext out, so that TLS is used", cfg.Target)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	transport := insecure.NewCredentials()
	if !cfg.Plaintext {
		tlsConfig := cfg.TLS.Clone()
		if tlsConfig == nil {
			tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		transport = credentials.NewTLS(tlsConfig)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(serviceConfig()),
		grpc.WithUserAgent("gatehouse-client"),
		// A server that has vanished is noticed while a call waits for it. Its
		// own limit on pings is one in 10 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithChainUnaryInterceptor(bound(cfg.Timeout), propagateUnary),
		grpc.WithChainStreamInterceptor(propagateStream),
	}
	if cfg.Tokens != nil {
		options = append(options,
			grpc.WithPerRPCCredentials(&bearer{cfg.Tokens, !cfg.Plaintext}),
			grpc.WithChainUnaryInterceptor(cfg.Tokens.heedUnary),
			grpc.WithChainStreamInterceptor(cfg.Tokens.heedStream))
	}
	return append(options, cfg.Options...), nil
}

// onLoopback reports whether a target can only be this machine.
func onLoopback(target string) bool {
	for _, scheme := range []string{"dns", "passthrough"} {
		if rest, ok := strings.CutPrefix(target, scheme+":"); ok {
			authority, endpoint, ok := strings.Cut(strings.TrimPrefix(rest, "//"), "/")
			switch {
			case !strings.HasPrefix(rest, "//"):
				target = rest
			case !ok || authority != "": // another name server's idea of localhost
				return false
			default:
				target = endpoint
			}
			break
		}
	}
	host, _, err := net.SplitHostPort(target)
	return err == nil && loopback.Host(host)
}

// bound gives a call that has no deadline one.
func bound(timeout time.Duration) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		return invoke(ctx, method, req, reply, conn, opts...)
	}
}
