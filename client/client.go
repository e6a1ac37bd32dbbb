package client

import (
	"cmp"
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

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
)

// DefaultTimeout is the default of Config.Timeout.
const DefaultTimeout = 10 * time.Second

// Config configures a connection. Target is required; every other field has a safe zero value.
type Config struct {
	// Target is the address of the server in the form of gRPC, such as
	// "dns:///catalog.internal:9090".
	Target string
	// Tokens is the source of the token that each call carries. Several connections may share one.
	// Nil sends no token, which is enough for public methods.
	Tokens *TokenSource
	// TLS configures TLS: the trusted authorities and the client certificate. Nil means the
	// system's authorities, TLS 1.2 or newer, and no certificate.
	TLS *tls.Config
	// Plaintext connects without TLS. It is allowed for loopback targets only.
	Plaintext bool
	// InsecureTokensInClear allows Plaintext for targets that are not on loopback. Everyone who can
	// read the traffic can then use the tokens. It is for networks that encrypt by themselves, such
	// as a service mesh.
	InsecureTokensInClear bool
	// Timeout limits a unary call whose context has no deadline, retries and the wait for a token
	// included. 0 means DefaultTimeout, 10 s. Streams have no limit.
	Timeout time.Duration
	// Options are appended to the dial options of this package.
	Options []grpc.DialOption
}

// Validate returns an error for each invalid field of cfg, joined. It contacts nothing. New calls
// it.
func (cfg Config) Validate() error {
	var errs []error
	if cfg.Target == "" {
		errs = append(errs, invalid.Missing("Target",
			`give the address of the server, such as "dns:///catalog.internal:9090"`))
	}
	errs = append(errs,
		invalid.NotNegative("Timeout", cfg.Timeout, "a positive duration", DefaultTimeout))
	if cfg.Plaintext && cfg.TLS != nil {
		errs = append(errs, &invalid.Error{
			Field: "TLS", Problem: "excludes Plaintext", Remedy: "leave out one of them",
		})
	}
	if cfg.InsecureTokensInClear && !cfg.Plaintext {
		errs = append(errs, &invalid.Error{
			Field: "InsecureTokensInClear", Problem: "has no effect without Plaintext",
			Remedy: "leave it out",
		})
	}
	if cfg.Plaintext && !cfg.InsecureTokensInClear && cfg.Target != "" && !onLoopback(cfg.Target) {
		errs = append(errs, invalid.Field("Target", cfg.Target,
			"is not on loopback, and Plaintext would send tokens in the clear",
			"leave out Plaintext, so that TLS is used"))
	}
	return errors.Join(errs...)
}

// New returns a connection, which dials when it is first used. The caller closes it. Errors are
// those of Validate, and of grpc.NewClient about Target and Options.
//
// A call of a method whose .proto declares an idempotency_level is tried up to 4 times while the
// server is UNAVAILABLE. Other methods are tried once, because a server that fails during a call
// may have executed it.
func New(cfg Config) (*grpc.ClientConn, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	conn, err := grpc.NewClient(cfg.Target, cfg.dialOptions()...)
	if err != nil {
		return nil, fmt.Errorf("client: Target %q: %w", cfg.Target, err)
	}
	return conn, nil
}

func (cfg Config) dialOptions() []grpc.DialOption {
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
		// Detects a dead connection while a call waits. The server allows a ping every 10 s.
		grpc.WithKeepaliveParams(
			keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithChainUnaryInterceptor(withTimeout(cmp.Or(cfg.Timeout, DefaultTimeout)), propagateUnary),
		grpc.WithChainStreamInterceptor(propagateStream),
	}
	if cfg.Tokens != nil {
		options = append(options,
			grpc.WithPerRPCCredentials(&bearer{cfg.Tokens, !cfg.Plaintext}),
			grpc.WithChainUnaryInterceptor(cfg.Tokens.watchUnary),
			grpc.WithChainStreamInterceptor(cfg.Tokens.watchStream))
	}
	return append(options, cfg.Options...)
}

// onLoopback reports whether target can only be this machine.
func onLoopback(target string) bool {
	scheme, rest, _ := strings.Cut(target, ":")
	if scheme == "dns" || scheme == "passthrough" {
		target = rest
		if location, ok := strings.CutPrefix(rest, "//"); ok {
			authority, endpoint, ok := strings.Cut(location, "/")
			if !ok || authority != "" { // another name server resolves it
				return false
			}
			target = endpoint
		}
	}
	host, _, err := net.SplitHostPort(target)
	return err == nil && loopback.Host(host)
}

// withTimeout gives calls a deadline that have none.
func withTimeout(timeout time.Duration) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any,
		conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
	) error {
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		return invoke(ctx, method, req, reply, conn, opts...)
	}
}
