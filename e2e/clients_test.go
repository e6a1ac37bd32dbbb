package e2e

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	connectrpc "connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/client"
	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
)

// TestClients runs clients like those of docs/clients.md against one `gatehouse dev`. TestDocuments
// runs the ones printed there.
func TestClients(t *testing.T) {
	t.Parallel()
	dev := startDev(t)
	for name, test := range map[string]func(t *testing.T, dev *system){
		"TypeScriptInNode":    testTypeScriptInNode,
		"TypeScriptInBrowser": testTypeScriptInBrowser,
		"Go":                  testGoClient,
		"ConnectGo":           testConnectGo,
		"grpcurl":             testGRPCurl,
		"BufCurl":             testBufCurl,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, dev)
		})
	}
}

// gateway returns the origin of the gateway.
func (s *system) gateway(t *testing.T) string { return s.says(t, `REST +(http://[a-z0-9.]+:[0-9]+)`) }

// grpc returns the address of the server.
func (s *system) grpc(t *testing.T) string { return s.says(t, `gRPC +([a-z0-9.]+:[0-9]+)`) }

func (s *system) says(t *testing.T, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(s.out.String())
	if found == nil {
		t.Fatalf("gatehouse dev does not say %s:\n%s", pattern, s.out)
	}
	return found[1]
}

// tokenSource returns a token source of the demo machine.
func (s *system) tokenSource(t *testing.T) *client.TokenSource {
	t.Helper()
	tokens, err := client.NewTokenSource(client.Credentials{TokenURL: s.provider + "/oauth/token", ClientID: "demo-machine", ClientSecret: "demo-machine"})
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func (s *system) machineToken(t *testing.T) string {
	t.Helper()
	token, err := s.tokenSource(t).Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return token.AccessToken
}

// npmTool returns the path of a program of e2e/typescript.
func npmTool(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	program := filepath.Join("typescript", "node_modules", ".bin", name)
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%v: run the tests with `make test`, which installs it (npm ci in e2e/typescript)", err)
	}
	return exec.CommandContext(t.Context(), program, args...)
}

func succeeds(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

// testTypeScriptInNode: the generated client compiles, and calls the gateway with a bearer token.
func testTypeScriptInNode(t *testing.T, dev *system) {
	succeeds(t, npmTool(t, "tsc", "-p", "typescript"))
	bundle := filepath.Join(t.TempDir(), "node.mjs")
	succeeds(t, npmTool(t, "esbuild", "typescript/src/node.ts", "--bundle", "--platform=node", "--format=esm", "--log-level=warning", "--outfile="+bundle))
	cmd := exec.CommandContext(t.Context(), "node", bundle)
	cmd.Env = append(os.Environ(), "GATEWAY="+dev.gateway(t), "TOKEN="+dev.machineToken(t))
	said := succeeds(t, cmd)
	for _, way := range []string{"Connect, JSON", "Connect, binary", "Connect, HTTP/2", "gRPC-Web", "fetch, Connect", "fetch, gRPC-Web"} {
		for _, who := range []string{"signed in", "signed out"} {
			if !strings.Contains(said, way+": "+who+"\n") {
				t.Errorf("Node does not say %s: %s\n%s", way, who, said)
			}
		}
	}
	if !strings.Contains(said, "REST: well") {
		t.Errorf("Node said\n%s", said)
	}
}

// testTypeScriptInBrowser: the same in a page behind the bff, with a cookie and without a token.
func testTypeScriptInBrowser(t *testing.T, _ *system) {
	dir := t.TempDir()
	succeeds(t, npmTool(t, "esbuild", "typescript/src/browser.ts", "--bundle", "--format=esm", "--log-level=warning", "--outfile="+filepath.Join(dir, "client.js")))
	page := `<!doctype html><html lang="en"><head><title>Clients</title><link rel="icon" href="data:,"></head><body><script type="module" src="/client.js"></script></body></html>`
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	dev := startDev(t, "--frontend=dir:"+dir)
	tb := startChromium(t).newTab(t)
	tb.open(dev.base + "/")
	for _, signed := range []string{"out", "in"} {
		tb.becomes("the page is ready", `document.body.dataset.ready === ""`)
		if said := js[string](tb, `run("`+signed+`")`); said != "well: Connect; Connect, binary; gRPC-Web" {
			t.Errorf("signed %s: %s", signed, said)
		}
		if signed == "out" {
			tb.open(dev.base + "/api/auth/login")
			tb.choose("seller")
			tb.at(dev.base + "/")
		}
	}
	// A page of another site cannot call, with any Content-Type.
	for _, mediaType := range []string{"application/json", "application/grpc-web+proto", "text/plain"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, dev.base+"/api/audioarchive.v1.ProductService/CreateProduct", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"Content-Type": mediaType, "Connect-Protocol-Version": "1", "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"} {
			req.Header.Set(name, value)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s from another site: %s", mediaType, resp.Status)
		}
	}
}

// testGoClient: a program with its own token, over gRPC.
func testGoClient(t *testing.T, dev *system) {
	conn, err := client.New(client.Config{Target: dev.grpc(t), Plaintext: true, Tokens: dev.tokenSource(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	products := audioarchivev1.NewProductServiceClient(conn)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "clients-go-1")
	created, err := products.CreateProduct(ctx, &audioarchivev1.CreateProductRequest{Product: product("By Go")})
	if err != nil {
		t.Fatal(err)
	}
	dev.said(t, "clients-go-1")
	stream, err := products.WatchProducts(t.Context(), &audioarchivev1.WatchProductsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := stream.Recv(); err != nil || first.GetKind() != audioarchivev1.WatchProductsResponse_KIND_READY {
		t.Errorf("the stream began with %v, %v", first, err)
	}
	if _, err := products.DeleteProduct(t.Context(), &audioarchivev1.DeleteProductRequest{Name: created.GetName()}); err != nil {
		t.Error(err)
	}
	_, err = products.CreateProduct(t.Context(), &audioarchivev1.CreateProductRequest{Product: product("")})
	if status.Code(err) != codes.InvalidArgument || len(status.Convert(err).Details()) == 0 {
		t.Errorf("without a title: %v", err)
	}
	// A wrong secret.
	wrong, err := client.NewTokenSource(client.Credentials{TokenURL: dev.provider + "/oauth/token", ClientID: "demo-machine", ClientSecret: "wrong"})
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := client.New(client.Config{Target: dev.grpc(t), Plaintext: true, Tokens: wrong})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stranger.Close() })
	_, err = audioarchivev1.NewStatusServiceClient(stranger).GetPrivateRoute(t.Context(), &audioarchivev1.GetPrivateRouteRequest{})
	if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "invalid_client") {
		t.Errorf("with a wrong secret: %v", err)
	}
}

func product(title string) *audioarchivev1.Product {
	return &audioarchivev1.Product{Title: title, Daw: audioarchivev1.Daw_DAW_REAPER, Price: &audioarchivev1.Price{CurrencyCode: "EUR", AmountMinor: 900}}
}

// testConnectGo: connect-go at the gateway's port.
func testConnectGo(t *testing.T, dev *system) {
	get := connectrpc.Spec{Procedure: audioarchivev1.StatusService_GetPrivateRoute_FullMethodName, IdempotencyLevel: connectrpc.IdempotencyNoSideEffects}
	watch := connectrpc.Spec{Procedure: audioarchivev1.ProductService_WatchProducts_FullMethodName, StreamType: connectrpc.StreamTypeServer}
	token := dev.machineToken(t)
	for name, options := range map[string][]connecthttp.Option{
		"Connect": nil, "Connect by GET": {connecthttp.WithHTTPGet()}, "gRPC-Web": {connecthttp.WithGRPCWeb()},
	} {
		c := connectrpc.NewClient(connecthttp.NewTransport(http.DefaultClient, dev.gateway(t)+"/api", options...))
		ctx, info := connectrpc.NewClientContext(t.Context())
		info.RequestHeader().Set("Authorization", "Bearer "+token)
		answer := new(audioarchivev1.GetPrivateRouteResponse)
		if err := c.CallUnary(ctx, get, new(audioarchivev1.GetPrivateRouteRequest), answer); err != nil || answer.GetMessage() != "This is a private route" {
			t.Errorf("%s: %v, %v", name, answer, err)
		}
		err := c.CallUnary(t.Context(), get, new(audioarchivev1.GetPrivateRouteRequest), answer)
		refused, ok := errors.AsType[*connectrpc.Error](err)
		if !ok || refused.Code() != connectrpc.CodeUnauthenticated || len(refused.Details()) != 1 {
			t.Errorf("%s, without a token: %v", name, err)
			continue
		}
		if info, err := connectproto.UnmarshalErrorDetail(refused.Details()[0]); err != nil || info.(*errdetails.ErrorInfo).GetReason() != "TOKEN_MISSING" {
			t.Errorf("%s, without a token: %v, %v", name, info, err)
		}
		ctx, info = connectrpc.NewClientContext(t.Context())
		info.RequestHeader().Set("Authorization", "Bearer "+token)
		stream, err := c.CallServerStream(ctx, watch, new(audioarchivev1.WatchProductsRequest))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		first := new(audioarchivev1.WatchProductsResponse)
		if err := stream.Receive(first); err != nil || first.GetKind() != audioarchivev1.WatchProductsResponse_KIND_READY {
			t.Errorf("%s: the stream began with %v, %v", name, first, err)
		}
		if err := stream.Close(); err != nil && !errors.Is(err, io.EOF) {
			t.Logf("%s: closing: %v", name, err)
		}
	}
}

// tool runs a program that tools/go.mod pins.
func tool(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"tool", "-modfile=../tools/go.mod"}, args...)...)
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	err = cmd.Run()
	return out.String(), messages.String(), err
}

// testGRPCurl: grpcurl with reflection, which dev has on.
func testGRPCurl(t *testing.T, dev *system) {
	address := dev.grpc(t)
	list, complaint, err := tool(t, "grpcurl", "-plaintext", address, "list")
	if err != nil || !strings.Contains(list, "audioarchive.v1.ProductService\n") {
		t.Fatalf("list: %v\n%s%s", err, list, complaint)
	}
	got, complaint, err := tool(t, "grpcurl", "-plaintext", "-H", "authorization: Bearer "+dev.machineToken(t), address, "audioarchive.v1.StatusService/GetPrivateRoute")
	if err != nil || !strings.Contains(got, `"message": "This is a private route"`) {
		t.Errorf("%v\n%s%s", err, got, complaint)
	}
	if _, complaint, err = tool(t, "grpcurl", "-plaintext", address, "audioarchive.v1.StatusService/GetPrivateRoute"); err == nil || !strings.Contains(complaint, "Unauthenticated") || !strings.Contains(complaint, "TOKEN_MISSING") {
		t.Errorf("without a token: %v\n%s", err, complaint)
	}
}

// testBufCurl: gRPC with reflection at the server's port, Connect and gRPC-Web with the .proto at
// the gateway's.
func testBufCurl(t *testing.T, dev *system) {
	authorization := "authorization: Bearer " + dev.machineToken(t)
	for name, args := range map[string][]string{
		"gRPC":     {"--protocol=grpc", "--http2-prior-knowledge", "http://" + dev.grpc(t)},
		"Connect":  {"--protocol=connect", "--schema=..", dev.gateway(t) + "/api"},
		"gRPC-Web": {"--protocol=grpcweb", "--schema=..", dev.gateway(t) + "/api"},
	} {
		args[len(args)-1] += "/audioarchive.v1.StatusService/GetPrivateRoute"
		args = append([]string{"buf", "curl"}, args...)
		got, complaint, err := tool(t, append(args, "--header="+authorization)...)
		if err != nil || !strings.Contains(got, "This is a private route") {
			t.Errorf("%s: %v\n%s%s", name, err, got, complaint)
		}
		if _, complaint, err = tool(t, args...); err == nil || !strings.Contains(complaint, `"unauthenticated"`) || !strings.Contains(complaint, "google.rpc.ErrorInfo") {
			t.Errorf("%s, without a token: %v\n%s", name, err, complaint)
		}
	}
}
