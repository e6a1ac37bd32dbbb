package e2e

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// TestDirectCallers covers clients with a bearer token of their own, which call the gateway or the
// server and not the bff.
func TestDirectCallers(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewIssuer(t)
	base := "http://localhost:" + portOf(freeAddress(t))
	rest, grpcAddress := freeAddress(t), freeAddress(t)
	p := gatehouse(t, tutorialEnvironment(issuer.URL, base),
		"serve", "--listen-bff="+freeAddress(t), "--listen-gateway="+rest, "--listen-grpc="+grpcAddress)
	p.ready(t, "http://"+rest+"/readyz")
	// One hour, because the test may wait for others.
	good := issuer.Mint(map[string]any{"aud": opAudience, "exp": time.Now().Add(time.Hour).Unix()})
	expired := issuer.Mint(map[string]any{"aud": opAudience, "exp": time.Now().Add(-time.Hour).Unix(), "iat": time.Now().Add(-2 * time.Hour).Unix()})
	foreign := tokentest.NewIssuer(t).Mint(map[string]any{"aud": opAudience})

	t.Run("REST", func(t *testing.T) {
		t.Parallel()
		for _, c := range []struct {
			name, path, authorization string
			status                    int
			errorCode, mediaType      string // of the challenge, "" for none; a 401 without one has no body
			body                      string // the whole body, for 200
		}{
			{"status", "/api", "Bearer " + good, 200, "", "text/plain", "Server Running..."},
			{"private route", "/api/private-route", "Bearer " + good, 200, "", "application/json", `{"message":"This is a private route"}`},
			{"scheme in lower case (RFC 9110 section 11.1)", "/api", "bearer " + good, 200, "", "text/plain", "Server Running..."},
			{"status without a token", "/api", "", 401, "", "application/json", ""},
			{"private route without a token", "/api/private-route", "", 401, "", "application/json", ""},
			{"expired", "/api", "Bearer " + expired, 401, "invalid_token", "application/json", ""},
			{"another audience", "/api", "Bearer " + issuer.Mint(map[string]any{"aud": "https://other.example"}), 401, "invalid_token", "application/json", ""},
			{"another issuer", "/api", "Bearer " + foreign, 401, "invalid_token", "application/json", ""},
			{"an ID token that names the API", "/api", "Bearer " + issuer.Mint(map[string]any{"aud": []string{opClientID, opAudience}, "nonce": "n", "exp": time.Now().Add(time.Hour).Unix()}), 401, "invalid_token", "application/json", ""},
			{"a refresh token that names the API", "/api", "Bearer " + issuer.Mint(map[string]any{"aud": opAudience, "typ": "Refresh", "exp": time.Now().Add(time.Hour).Unix()}), 401, "invalid_token", "application/json", ""},
			{"not a token", "/api", "Bearer nonsense", 401, "invalid_token", "application/json", ""},
			{"another scheme", "/api", "Basic dXNlcjpwYXNz", 401, "", "application/json", ""},
			{"token in the query (RFC 6750 section 2.3)", "/api/private-route?access_token=" + good, "", 400, "", "application/json", ""},
			{"unknown path", "/api/nowhere", "Bearer " + good, 404, "", "application/json", ""},
			{"the bff's own addresses", "/api/auth/me", "Bearer " + good, 404, "", "application/json", ""},
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+rest+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.authorization != "" {
				req.Header.Set("Authorization", c.authorization)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			got := answer{method: http.MethodGet, url: c.path, status: resp.StatusCode, header: resp.Header, body: string(body)}
			got.wants(t, c.status, c.mediaType)
			challenge := resp.Header.Get("WWW-Authenticate")
			if asks := strings.HasPrefix(challenge, "Bearer "); asks != (c.status == http.StatusUnauthorized) {
				t.Errorf("%s: %d with the challenge %q", c.name, c.status, challenge)
			}
			// RFC 6750 §3.1: no error code without a token.
			if has := strings.Contains(challenge, "error="); has != (c.errorCode != "") || !strings.Contains(challenge, c.errorCode) {
				t.Errorf("%s: challenge %q, want the error %q", c.name, challenge, c.errorCode)
			}
			if c.status == http.StatusOK && strings.ReplaceAll(got.body, " ", "") != strings.ReplaceAll(c.body, " ", "") {
				t.Errorf("%s: got %s, want %s", c.name, got.body, c.body)
			}
			if contains(got.body, []string{good}) {
				t.Errorf("%s: the answer repeats the token", c.name)
			}
			if c.status != http.StatusOK {
				if e := got.json(t); e["code"] == nil || e["message"] == "" {
					t.Errorf("%s: not a google.rpc.Status: %s", c.name, got.body)
				}
			}
		}
	})

	t.Run("gRPC", func(t *testing.T) {
		t.Parallel()
		conn := dial(t, grpcAddress)
		client := audioarchivev1.NewStatusServiceClient(conn)
		got, err := client.GetPrivateRoute(withToken(t.Context(), good), &audioarchivev1.GetPrivateRouteRequest{})
		if err != nil || got.GetMessage() != "This is a private route" {
			t.Errorf("with a token: got %v, %v", got, err)
		}
		running, err := client.GetStatus(withToken(t.Context(), good), &audioarchivev1.GetStatusRequest{})
		if err != nil || string(running.GetData()) != "Server Running..." {
			t.Errorf("status with a token: got %v, %v", running, err)
		}
		for _, c := range []struct {
			name   string
			ctx    context.Context
			reason string
		}{
			{"without a token", t.Context(), "TOKEN_MISSING"},
			{"with an expired one", withToken(t.Context(), expired), "TOKEN_EXPIRED"},
			{"with another issuer's", withToken(t.Context(), foreign), "TOKEN_INVALID"},
			{"with two", withToken(withToken(t.Context(), good), good), "TOKEN_INVALID"},
		} {
			_, err := client.GetPrivateRoute(c.ctx, &audioarchivev1.GetPrivateRouteRequest{})
			if got := status.Code(err); got != codes.Unauthenticated {
				t.Errorf("%s: %v, want %v", c.name, err, codes.Unauthenticated)
			}
			info := errorInfo(err)
			if info.GetReason() != c.reason || info.GetDomain() != "gatehouse" {
				t.Errorf("%s: ErrorInfo %v, want the reason %s of gatehouse", c.name, info, c.reason)
			}
		}
	})

	t.Run("health needs no token", func(t *testing.T) {
		t.Parallel()
		client := healthpb.NewHealthClient(dial(t, grpcAddress))
		eventually(t, "the health service", func() error {
			got, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{})
			if err == nil && got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
				err = status.Error(codes.Unavailable, got.GetStatus().String())
			}
			return err
		})
	})

	t.Run("no reflection in production", func(t *testing.T) {
		t.Parallel()
		if services, err := reflected(t, grpcAddress); status.Code(err) != codes.Unimplemented {
			t.Errorf("got %v, %v, want %v", services, err, codes.Unimplemented)
		}
	})
}

// TestDevServesAPI covers the same for gatehouse dev, which needs no configuration and has
// reflection on.
func TestDevServesAPI(t *testing.T) {
	t.Parallel()
	pages, rest, grpcAddress := freeAddress(t), freeAddress(t), freeAddress(t)
	p := gatehouse(t, nil, "dev", "--listen-bff="+pages, "--listen-gateway="+rest, "--listen-grpc="+grpcAddress, "--listen-devidp="+freeAddress(t))
	p.ready(t, "http://"+pages+"/readyz")
	p.said(t, "Open http://localhost:"+portOf(pages))

	resp, err := http.Get("http://" + rest + "/api/private-route")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if challenge := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(challenge, "Bearer") {
		t.Errorf("without a token: %s, challenge %q; want 401 and Bearer", resp.Status, challenge)
	}

	services, err := reflected(t, grpcAddress)
	if err != nil || !slices.Contains(services, "audioarchive.v1.StatusService") {
		t.Errorf("reflection: got %v, %v; want audioarchive.v1.StatusService among them", services, err)
	}
	_, err = audioarchivev1.NewStatusServiceClient(dial(t, grpcAddress)).GetStatus(t.Context(), &audioarchivev1.GetStatusRequest{})
	if status.Code(err) != codes.Unauthenticated || errorInfo(err).GetReason() != "TOKEN_MISSING" {
		t.Errorf("gRPC without a token: %v, want %v for TOKEN_MISSING", err, codes.Unauthenticated)
	}
	if code := p.stop(t); code != 0 {
		t.Errorf("gatehouse dev ended with exit code %d, want 0", code)
	}
}

func dial(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("dns:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func withToken(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

func errorInfo(err error) *errdetails.ErrorInfo {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info
		}
	}
	return nil
}

// reflected returns the services that server reflection lists.
func reflected(t *testing.T, address string) ([]string, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel() // an open stream would delay the end of the server
	stream, err := reflectionpb.NewServerReflectionClient(dial(t, address)).ServerReflectionInfo(ctx)
	if err != nil {
		return nil, err
	}
	// A refusal arrives at Recv; Send returns io.EOF.
	_ = stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	got, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range got.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	return names, nil
}
