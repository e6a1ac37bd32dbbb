package gatehouse

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/certtest"
)

func TestTLSSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := certtest.New(t, "ca")
	bundle := ca.Write(t, dir, "ca")
	certFile, keyFile := ca.Issue(t, "shop.example").Write(t, dir, "one")
	_, otherKey := ca.Issue(t, "shop.example").Write(t, dir, "two")
	const (
		cert, key = "GATEHOUSE_TLS_CERT_FILE=", "GATEHOUSE_TLS_KEY_FILE="
		store     = "GATEHOUSE_SESSION_STORE="
		storeCA   = "GATEHOUSE_SESSION_STORE_CA_FILE="
	)
	for name, c := range map[string]struct {
		settings []string
		want     string // in the error; "" for none
	}{
		"pair":                     {[]string{cert + certFile, key + keyFile}, ""},
		"no key":                   {[]string{cert + certFile}, "GATEHOUSE_TLS_CERT_FILE=" + certFile + " (environment): needs GATEHOUSE_TLS_KEY_FILE; give both"},
		"no certificate":           {[]string{"GATEHOUSE_BFF_TLS_KEY_FILE=" + keyFile}, "needs GATEHOUSE_BFF_TLS_CERT_FILE"},
		"key of another":           {[]string{cert + certFile, key + otherKey}, "is not that of the certificate"},
		"no file":                  {[]string{cert + "/none", key + keyFile}, "/none: no such file"},
		"own instead of common":    {[]string{cert + "/none", key + "/none", "GATEHOUSE_BFF_TLS_CERT_FILE=" + certFile, "GATEHOUSE_BFF_TLS_KEY_FILE=" + keyFile}, ""},
		"none instead of common":   {[]string{cert + "/none", key + "/none", "GATEHOUSE_BFF_TLS_CERT_FILE=none"}, ""},
		"version":                  {[]string{"GATEHOUSE_TLS_MIN_VERSION=1.1"}, "GATEHOUSE_TLS_MIN_VERSION=1.1"},
		"client pair":              {[]string{"GATEHOUSE_TLS_CLIENT_CERT_FILE=" + certFile}, "needs GATEHOUSE_TLS_CLIENT_KEY_FILE"},
		"authorities":              {[]string{"GATEHOUSE_OIDC_CA_FILE=" + bundle}, ""},
		"key as authorities":       {[]string{"GATEHOUSE_OIDC_CA_FILE=" + keyFile}, "no certificate in PEM"},
		"gateway without TLS":      {[]string{"GATEHOUSE_GATEWAY_CA_FILE=" + bundle}, "GATEHOUSE_GATEWAY_URL is no https address"},
		"embedded front end":       {[]string{"GATEHOUSE_FRONTEND_CA_FILE=" + bundle}, "GATEHOUSE_FRONTEND is no https address"},
		"Redis":                    {[]string{store + "rediss://r", storeCA + bundle}, ""},
		"Redis without TLS":        {[]string{store + "redis://r", storeCA + bundle}, "has no TLS; write rediss"},
		"Redis with its own":       {[]string{store + "rediss://r?ca_file=/x", storeCA + bundle}, "leave one of them out"},
		"PostgreSQL":               {[]string{store + "postgres://u@db/x", storeCA + bundle}, ""},
		"PostgreSQL, verify-ca":    {[]string{store + "postgres://u@db/x?sslmode=verify-ca", storeCA + bundle}, ""},
		"PostgreSQL, no check":     {[]string{store + "postgres://u@db/x?sslmode=require", storeCA + bundle}, "sslmode=require, which verifies no certificate"},
		"PostgreSQL with its own":  {[]string{store + "postgres://u@db/x?sslrootcert=/x", storeCA + bundle}, "sslrootcert of its own"},
		"store in memory":          {[]string{storeCA + bundle}, "is reached without TLS"},
		"store's bundle missing":   {[]string{store + "rediss://r", storeCA + "/none"}, "no such file"},
		"socket":                   {[]string{"GATEHOUSE_LISTEN_BFF=unix:/run/x.sock"}, ""},
		"socket of two":            {[]string{"GATEHOUSE_LISTEN_BFF=unix:/run/x.sock", "GATEHOUSE_LISTEN_ADMIN=unix:/run/x.sock"}, "give each part an address of its own"},
		"socket mode":              {[]string{"GATEHOUSE_SOCKET_MODE=rw"}, "give one in octal"},
		"clients without a server": {[]string{"GATEHOUSE_GATEWAY_CLIENT_NAMES=bff"}, ""}, // of the gateway, which does not run here
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := validated(t, partSet{BFF: true}, bffEnvironment(c.settings...)...)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	const gatewayTarget = "GATEHOUSE_GRPC_TARGET=dns:///server:9090"
	for want, settings := range map[string][]string{
		"GATEHOUSE_GATEWAY_CLIENT_CA_FILE=" + bundle + " (environment): asks for client certificates": {"GATEHOUSE_GATEWAY_CLIENT_CA_FILE=" + bundle},
		"give it a certificate with GATEHOUSE_GATEWAY_TLS_CERT_FILE":                                  {"GATEHOUSE_GATEWAY_CLIENT_CA_FILE=" + bundle},
		"has no effect without GATEHOUSE_GATEWAY_CLIENT_CA_FILE":                                      {"GATEHOUSE_GATEWAY_CLIENT_NAMES=bff"},
	} {
		err := validated(t, partSet{Gateway: true}, append(settings, gatewayTarget)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", settings, err, want)
		}
	}
}

func TestTokensInClear(t *testing.T) {
	t.Parallel()
	certFile, keyFile := certtest.New(t, "ca").Issue(t, "x").Write(t, t.TempDir(), "x")
	const listenGateway, target = "GATEHOUSE_LISTEN_GATEWAY=", "GATEHOUSE_GRPC_TARGET="
	local := []string{listenGateway + "127.0.0.1:0", target + "dns:///localhost:9090"}
	for name, c := range map[string]struct {
		run      partSet
		settings []string
		want     []string // settings that are named
	}{
		"defaults of all parts":  {allParts, nil, []string{"GATEHOUSE_LISTEN_GATEWAY", "GATEHOUSE_LISTEN_GRPC"}},
		"accepted":               {allParts, []string{"GATEHOUSE_INSECURE_TOKENS_IN_CLEAR=true"}, nil},
		"TLS":                    {allParts, []string{"GATEHOUSE_TLS_CERT_FILE=" + certFile, "GATEHOUSE_TLS_KEY_FILE=" + keyFile}, nil},
		"gateway on loopback":    {partSet{Gateway: true}, local, nil},
		"gateway on a socket":    {partSet{Gateway: true}, []string{listenGateway + "unix:/run/x", target + "unix:/run/server.sock"}, nil},
		"server elsewhere":       {partSet{Gateway: true}, []string{local[0], target + "dns:///server:9090"}, []string{"GATEHOUSE_GRPC_TARGET=dns:///server:9090"}},
		"server with TLS":        {partSet{Gateway: true}, []string{local[0], target + "dns:///server:9090", "GATEHOUSE_GRPC_TLS=true"}, nil},
		"one of two servers":     {partSet{Gateway: true}, []string{local[0], target + "127.0.0.1:9090,10.0.0.1:9090"}, []string{"GATEHOUSE_GRPC_TARGET"}},
		"gateway elsewhere":      {partSet{BFF: true}, []string{"GATEHOUSE_GATEWAY_URL=http://gateway:5000"}, []string{"GATEHOUSE_GATEWAY_URL"}},
		"gateway with TLS":       {partSet{BFF: true}, []string{"GATEHOUSE_GATEWAY_URL=https://gateway:5000"}, nil},
		"gateway at ::1":         {partSet{BFF: true}, []string{"GATEHOUSE_GATEWAY_URL=http://[::1]:5000"}, nil},
		"gateway without a port": {partSet{BFF: true}, []string{"GATEHOUSE_GATEWAY_URL=http://localhost"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := configured(t, c.settings...)
			var log bytes.Buffer
			p.logger = slog.New(slog.NewTextHandler(&log, nil))
			p.warnInClear(t.Context(), c.run)
			if n := strings.Count(log.String(), "level=WARN"); n != len(c.want) {
				t.Errorf("%d warnings, want %d: %s", n, len(c.want), &log)
			}
			for _, want := range c.want {
				if !strings.Contains(log.String(), want) {
					t.Errorf("logged %s, want a warning about %s", &log, want)
				}
			}
		})
	}
}

// A gateway serves TLS on a Unix socket, to clients with a certificate alone.
func TestListenersOfTheProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := certtest.New(t, "ca")
	certFile, keyFile := ca.Issue(t, "gateway").Write(t, dir, "server")
	gateway, admin := filepath.Join(dir, "gateway.sock"), filepath.Join(dir, "admin.sock")
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	ended := make(chan int)
	go func() {
		ended <- Run(ctx, App{}, []string{
			"gateway", "--grpc-target=dns:///127.0.0.1:1", "--listen-gateway=unix:" + gateway, "--listen-admin=unix:" + admin, "--socket-mode=0600",
			"--tls-cert-file=" + certFile, "--tls-key-file=" + keyFile, "--admin-tls-cert-file=none",
			"--gateway-client-ca-file=" + ca.Write(t, dir, "ca"), "--gateway-client-names=bff",
		}, nil, io.Discard, &out)
	}()
	get := func(socket, url string, names ...string) (*http.Response, error) {
		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: ca.Pool()},
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			}}
		defer transport.CloseIdleConnections()
		if names != nil {
			pair := ca.Issue(t, names...)
			cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
			if err != nil {
				return nil, err
			}
			transport.TLSClientConfig.Certificates = []tls.Certificate{cert}
		}
		resp, err := (&http.Client{Transport: transport}).Get(url)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("status %s", resp.Status)
			}
		}
		return resp, err
	}
	for deadline := time.Now().Add(time.Minute); ; <-time.After(10 * time.Millisecond) {
		_, err := get(admin, "http://localhost/healthz")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("the admin port does not answer: %v", err)
			break
		}
	}
	if resp, err := get(gateway, "https://gateway/healthz", "bff"); err != nil || resp.ProtoMajor != 2 {
		t.Errorf("with the bff's certificate: got %v, %v, want an answer by HTTP/2", resp, err)
	}
	if _, err := get(gateway, "https://gateway/healthz", "server"); err == nil {
		t.Error("a certificate with another name is accepted")
	}
	if err := refusal(gateway, &tls.Config{RootCAs: ca.Pool(), ServerName: "gateway"}); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("without a certificate: got %v, want that one is required", err)
	}
	cancel()
	if code := <-ended; code != exitOK {
		t.Errorf("exit code %d, want %d\n%s", code, exitOK, &out)
	}
	if strings.Contains(out.String(), "in the clear: the gateway listens") || !strings.Contains(out.String(), `"part":"gateway"`) {
		t.Errorf("the log is %s, want no warning about the gateway's listener", &out)
	}
}

// refusal returns the error that a connection is refused with. It sends nothing besides the
// handshake, as the server may close the connection before it could be written.
func refusal(socket string, config *tls.Config) error {
	conn, err := tls.Dial("unix", socket, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1))
	return err
}
