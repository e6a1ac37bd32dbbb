package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/gatehouse-dev/gatehouse/gateway"
	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/catalog"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
	"github.com/gatehouse-dev/gatehouse/internal/test/oidctest"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/server"
	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
)

// TestDenialEndsStreams: when a token is put on the denylist, its open streams end within a second
// in every protocol, and streams with other tokens go on.
func TestDenialEndsStreams(t *testing.T) {
	t.Parallel()
	list, err := denylist.New(denylist.Config{})
	if err != nil {
		t.Fatal(err)
	}
	db, err := productdb.Open(t.Context(), productdb.Config{URL: "memory:"})
	if err != nil {
		t.Fatal(err)
	}
	issuer := tokentest.NewUnserved(t, "https://issuer.test")
	srv, err := server.New(server.Config{
		Authn: authn.Config{Provider: oidctest.NewProvider(t, issuer), Audience: shopAudience, Denylist: list},
		Register: func(r grpc.ServiceRegistrar) {
			audioarchivev1.RegisterProductServiceServer(r, catalog.NewProducts(catalog.ProductsConfig{DB: db}))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- srv.Run(ctx) }()
	go func() { done <- srv.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(gateway.Config{
		Conn:     conn,
		Services: []gateway.Service{gateway.Expose(audioarchivev1.NewProductServiceClient, audioarchivev1.RegisterProductServiceHandlerClient, "audioarchive.v1.ProductService")},
	})
	if err != nil {
		t.Fatal(err)
	}
	rest := httptest.NewUnstartedServer(nil)
	rest.Config = g.Server()
	rest.Start()
	t.Cleanup(func() {
		rest.Close()
		_ = conn.Close()
		stop()
		_ = srv.Shutdown(ctx) // at once
		<-done
		<-done
		_ = db.Close()
	})

	const watch = "/audioarchive.v1.ProductService/WatchProducts"
	envelope := func(message string) io.Reader {
		return bytes.NewReader(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...))
	}
	// open opens a stream over HTTP and reads until a text has arrived.
	open := func(t *testing.T, token, method, target string, body io.Reader, until string, header ...string) *bufio.Reader {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, rest.URL+target, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		stream := bufio.NewReader(resp.Body)
		var got strings.Builder
		for !strings.Contains(got.String(), until) {
			b, err := stream.ReadByte()
			if err != nil {
				t.Fatalf("%d %q, %v", resp.StatusCode, got.String(), err)
			}
			got.WriteByte(b)
		}
		return stream
	}
	overHTTP := func(method, target string, body func() io.Reader, until string, header ...string) func(*testing.T, string) func() string {
		return func(t *testing.T, token string) func() string {
			stream := open(t, token, method, target, body(), until, header...)
			return func() string {
				rest, err := io.ReadAll(stream)
				if err != nil {
					return "broken off: " + err.Error()
				}
				return string(rest)
			}
		}
	}
	none := func() io.Reader { return nil }
	empty := func() io.Reader { return envelope("{}") }
	for name, way := range map[string]struct {
		open   func(*testing.T, string) func() string // returns a function that waits for the end
		want   string
		reason func(t *testing.T, end string) string // of google.rpc.ErrorInfo
	}{
		"SSE":      {overHTTP("GET", "/api/products:watch", none, "\n\n", "Accept", "text/event-stream"), "event: error\ndata: {\"code\":16,", reasonInJSON},
		"NDJSON":   {overHTTP("GET", "/api/products:watch", none, "\n"), `{"error":{"code":16,`, reasonInJSON},
		"Connect":  {overHTTP("POST", "/api"+watch, empty, "KIND_READY", "Content-Type", "application/connect+json", "Connect-Protocol-Version", "1"), `"code":"unauthenticated"`, reasonInConnect},
		"gRPC-Web": {overHTTP("POST", "/api"+watch, empty, "KIND_READY", "Content-Type", "application/grpc-web+json"), "grpc-status: 16", reasonInGRPCWeb},
		"gRPC": {func(t *testing.T, token string) func() string {
			stream, err := audioarchivev1.NewProductServiceClient(conn).WatchProducts(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token), &audioarchivev1.WatchProductsRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
			return func() string {
				_, err := stream.Recv()
				st := status.Convert(err)
				for _, detail := range st.Details() {
					if info, ok := detail.(*errdetails.ErrorInfo); ok && st.Code() == codes.Unauthenticated {
						return "status 16 " + info.GetReason()
					}
				}
				return st.String()
			}
		}, "status 16", func(_ *testing.T, end string) string { return strings.TrimPrefix(end, "status 16 ") }},
	} {
		for by, deny := range map[string]func(id string) error{
			"jti": func(id string) error { return list.DenyToken(t.Context(), issuer.URL, id, time.Time{}) },
			"sid": func(id string) error { return list.DenySession(t.Context(), issuer.URL, id, time.Time{}) },
			"sub": func(id string) error { return list.DenySubject(t.Context(), issuer.URL, id, time.Now(), time.Time{}) },
		} {
			t.Run(name+"/"+by, func(t *testing.T) {
				t.Parallel()
				id := name + by
				other := way.open(t, issuer.Mint(map[string]any{"sub": id + "x", "sid": id + "x", "jti": id + "x", "aud": shopAudience}))
				end := way.open(t, issuer.Mint(map[string]any{"sub": id, "sid": id, "jti": id, "aud": shopAudience}))
				untouched := make(chan string, 1)
				go func() { untouched <- other() }()
				if err := deny(id); err != nil {
					t.Fatal(err)
				}
				denied := time.Now()
				got := end()
				if !strings.Contains(got, way.want) {
					t.Errorf("the stream ended with %q, want %q", got, way.want)
				}
				if took := time.Since(denied); took > time.Second+slack {
					t.Errorf("the stream ended after %v", took)
				}
				if reason := way.reason(t, got); reason != "TOKEN_REVOKED" {
					t.Errorf("the reason is %q, want TOKEN_REVOKED; in %q", reason, got)
				}
				select {
				case got := <-untouched:
					t.Errorf("another token's stream ended with %q", got)
				default:
				}
			})
		}
	}
}

// reasonInJSON returns the reason of the ErrorInfo in a google.rpc.Status as JSON, the last object
// of a stream.
func reasonInJSON(t *testing.T, end string) string {
	t.Helper()
	var last struct {
		Details []struct {
			Type   string `json:"@type"`
			Reason string `json:"reason"`
		} `json:"details"`
	}
	start := strings.Index(end, `{"code":16`)
	if start < 0 {
		t.Fatalf("no error with code 16 in %q", end)
	}
	if err := json.NewDecoder(strings.NewReader(end[start:])).Decode(&last); err != nil {
		t.Fatal(err)
	}
	for _, detail := range last.Details {
		if detail.Type == "type.googleapis.com/google.rpc.ErrorInfo" {
			return detail.Reason
		}
	}
	return ""
}

// reasonInConnect returns the reason in the end of a stream of the Connect protocol.
func reasonInConnect(t *testing.T, end string) string {
	t.Helper()
	var last struct {
		Error struct {
			Details []struct {
				Type  string `json:"type"`
				Value string `json:"value"`
			} `json:"details"`
		} `json:"error"`
	}
	start := strings.Index(end, `{"error"`)
	if start < 0 {
		t.Fatalf("no error in %q", end)
	}
	if err := json.NewDecoder(strings.NewReader(end[start:])).Decode(&last); err != nil {
		t.Fatal(err)
	}
	for _, detail := range last.Error.Details {
		if detail.Type != "google.rpc.ErrorInfo" {
			continue
		}
		value, err := base64.RawStdEncoding.DecodeString(detail.Value)
		if err != nil {
			t.Fatal(err)
		}
		var info errdetails.ErrorInfo
		if err := proto.Unmarshal(value, &info); err != nil {
			t.Fatal(err)
		}
		return info.GetReason()
	}
	return ""
}

// reasonInGRPCWeb returns the reason in the trailers of gRPC-Web, which are part of the body.
func reasonInGRPCWeb(t *testing.T, end string) string {
	t.Helper()
	for line := range strings.SplitSeq(end, "\r\n") {
		encoded, found := strings.CutPrefix(line, "grpc-status-details-bin: ")
		if !found {
			continue
		}
		value, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
		if err != nil {
			t.Fatal(err)
		}
		var st rpcstatus.Status
		if err := proto.Unmarshal(value, &st); err != nil {
			t.Fatal(err)
		}
		for _, detail := range status.FromProto(&st).Details() {
			if info, ok := detail.(*errdetails.ErrorInfo); ok {
				return info.GetReason()
			}
		}
	}
	return ""
}
