package gatehousetest

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/gatehouse-dev/gatehouse"
	"github.com/gatehouse-dev/gatehouse/internal/testrun"
)

// Config says how a system starts. The zero value is usable.
type Config struct {
	// Settings are settings of Gatehouse and of the application by the names of their flags,
	// such as "session-idle-timeout": "15m". docs/configuration.md lists them; those of the
	// provider in production have no effect. Default: those of the command dev, with ports that
	// the system chooses.
	Settings map[string]string
	// Users are the users of the development provider. Default: those of the file dev-users.yaml
	// in the directory of the test or above it in the module, or else those that the command dev
	// has without a file.
	Users []User
	// Clock is the clock of all parts. Give one to share it with the application's services, or
	// with another system. Default: a new one.
	Clock *Clock
}

// A System is an application that runs. Its methods are safe for concurrent use, by several tests
// too.
type System struct {
	// BaseURL is the address of pages and API for browsers, such as http://localhost:41234.
	BaseURL string
	// GatewayURL is the address of the API for clients with a bearer token, GRPCAddress the
	// HOST:PORT of the gRPC server.
	GatewayURL, GRPCAddress string
	// Issuer is the address of the development provider.
	Issuer string
	// Clock is that of all parts.
	Clock *Clock

	run       testrun.System
	app       gatehouse.App
	store     *store
	transport *http.Transport
}

// Start starts an application, and stops it when the test and its subtests end. If it does not
// start, the test fails with the reasons. App is the value that the application gives to
// gatehouse.Main; if it has Settings, each call needs a value of its own, because their targets are
// written to. The application's log is the output of the test.
//
// To start it otherwise, use [Config.Start].
func Start(t testing.TB, app gatehouse.App) *System {
	t.Helper()
	return Config{}.Start(t, app)
}

// Start starts an application as cfg says; see the function [Start].
func (cfg Config) Start(t testing.TB, app gatehouse.App) *System {
	t.Helper()
	s := &System{Clock: cfg.Clock, app: app}
	if s.Clock == nil {
		s.Clock = new(Clock)
	}
	var err error
	if s.store, err = newStore(s.Clock.Now); err != nil {
		t.Fatal(err)
	}
	serving, stopped := make(chan testrun.System, 1), make(chan int, 1)
	ctx, stop := context.WithCancel(testrun.NewContext(context.Background(), &testrun.Hooks{
		Now: s.Clock.Now, Sessions: s.store, NewKey: keys.next(), Serving: func(run testrun.System) { serving <- run },
	}))
	log := newLog(t.Output())
	go func() { stopped <- gatehouse.Run(ctx, app, cfg.args(), nil, io.Discard, log) }()
	select {
	case s.run = <-serving:
	case code := <-stopped:
		stop()
		log.end()
		t.Fatalf("gatehousetest: the application does not start, exit code %d:\n%s", code, log.tail())
	}
	s.BaseURL, s.GatewayURL, s.GRPCAddress, s.Issuer = s.run.BaseURL, s.run.GatewayURL, s.run.GRPCAddress, s.run.Issuer
	s.transport = &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 100}
	t.Cleanup(func() {
		s.transport.CloseIdleConnections()
		stop()
		if code := <-stopped; code != 0 {
			t.Errorf("gatehousetest: the application ended with exit code %d:\n%s", code, log.tail())
		}
		log.end()
	})
	if cfg.Users != nil {
		cfg.setUsers(t, s.run.Provider)
	}
	return s
}

// args returns the command line of the program.
func (cfg Config) args() []string {
	args := []string{"dev", "--login-rate=1000000"} // all sign-ins come from one address
	for _, name := range []string{"bff", "gateway", "grpc", "devidp"} {
		args = append(args, "--listen-"+name+"=127.0.0.1:0")
	}
	if file := usersFile(); file != "" && cfg.Users == nil {
		args = append(args, "--dev-users="+file)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Settings)) {
		args = append(args, "--"+name+"="+cfg.Settings[name])
	}
	return args
}

// usersFile returns the path of the file dev-users.yaml in the directory of the test or above it in
// the module, "" for none. Tests of all packages then have the users that dev has in the module's
// root.
func usersFile() string {
	for dir := "."; ; dir = filepath.Join("..", dir) {
		file := filepath.Join(dir, "dev-users.yaml")
		if _, err := os.Stat(file); err == nil {
			return file
		}
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil || len(dir) > maxDepth {
			return ""
		}
	}
}

// maxDepth is the longest path above the directory of a test, for a test outside a module.
const maxDepth = 64

// dial connects to a loopback address. The name localhost may resolve to [::1], where nothing
// listens.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	if host, port, err := net.SplitHostPort(address); err == nil && host == "localhost" {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// Conn returns a connection to the gRPC server, which sends the token with each call; "" for none.
// It is closed when the test ends.
func (s *System) Conn(t testing.TB, token string) *grpc.ClientConn {
	t.Helper()
	if s.GRPCAddress == "" {
		t.Fatal("gatehousetest: the gRPC server is elsewhere, as the setting grpc-target says")
	}
	with := func(ctx context.Context) context.Context {
		if token == "" {
			return ctx
		}
		return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	conn, err := grpc.NewClient("passthrough:///"+s.GRPCAddress,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return invoke(with(ctx), method, req, reply, conn, opts...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return stream(with(ctx), desc, conn, method, opts...)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // an error means that the test has closed it
	return conn
}
