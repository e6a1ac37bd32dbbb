package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/gateway"
	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/internal/test/oidctest"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/server"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// A service of files, declared by a descriptor and registered by hand: bytes are returned as they
// arrived, or the stream fails after some.
const fileService = "e2e.files.v1.FileService"

const filesFile = `
name: "e2e/files/v1/files.proto" package: "e2e.files.v1" syntax: "proto3"
dependency: ["google/api/annotations.proto", "google/api/httpbody.proto"]
service { name: "FileService"
  method { name: "Download" input_type: ".google.api.HttpBody" output_type: ".google.api.HttpBody" server_streaming: true
    options { [google.api.http] { get: "/api/files" } } }
  method { name: "Echo" input_type: ".google.api.HttpBody" output_type: ".google.api.HttpBody" client_streaming: true server_streaming: true
    options { [google.api.http] { post: "/api/files" body: "*" } } }
}`

// declareFiles registers the descriptor.
var declareFiles = sync.OnceValue(func() error {
	described := new(descriptorpb.FileDescriptorProto)
	if err := prototext.Unmarshal([]byte(filesFile), described); err != nil {
		return err
	}
	desc, err := protodesc.NewFile(described, protoregistry.GlobalFiles)
	if err != nil {
		return err
	}
	return protoregistry.GlobalFiles.RegisterFile(desc)
})

var file = bytes.Repeat([]byte("0123456789abcdef"), 3<<16) // 3 MiB

type files interface{ isFiles() }

type fileServer struct{}

func (fileServer) isFiles() {}

var filesDesc = grpc.ServiceDesc{ServiceName: fileService, HandlerType: (*files)(nil), Streams: []grpc.StreamDesc{
	{StreamName: "Download", ServerStreams: true, Handler: func(_ any, ss grpc.ServerStream) error {
		m := new(httpbody.HttpBody)
		if err := ss.RecvMsg(m); err != nil {
			return err
		}
		size := len(file)
		md, _ := metadata.FromIncomingContext(ss.Context())
		if ranges := md.Get("range"); len(ranges) == 1 {
			if err := ss.SetHeader(metadata.Pairs("content-range", "bytes 0-9/"+"3145728")); err != nil {
				return err
			}
			size = 10
		}
		for sent := 0; sent < size; sent += 1 << 20 {
			if m.GetContentType() == "breaks" && sent > 0 {
				return status.Error(codes.DataLoss, "the disk \xff is gone")
			}
			if err := ss.SendMsg(&httpbody.HttpBody{ContentType: "audio/wav", Data: file[sent:min(size, sent+1<<20)]}); err != nil {
				return err
			}
		}
		return nil
	}},
	{StreamName: "Echo", ServerStreams: true, ClientStreams: true, Handler: func(_ any, ss grpc.ServerStream) error {
		var all []*httpbody.HttpBody // read everything first: a browser sends before it reads
		for {
			m := new(httpbody.HttpBody)
			if err := ss.RecvMsg(m); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
			all = append(all, m)
		}
		for _, m := range all {
			if err := ss.SendMsg(m); err != nil {
				return err
			}
		}
		return nil
	}},
}}

// streamHandler is what generated code would register for a method with a stream of HttpBody.
func streamHandler(mux *runtime.ServeMux, conn grpc.ClientConnInterface, method, path string) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, _ map[string]string) {
		_, out := runtime.MarshalerForRequest(mux, r)
		ctx, err := runtime.AnnotateContext(r.Context(), mux, r, method, runtime.WithHTTPPathPattern(path))
		var stream grpc.ClientStream
		if err == nil {
			stream, err = conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
		}
		if err == nil {
			err = errors.Join(stream.SendMsg(&httpbody.HttpBody{ContentType: r.Form.Get("content_type")}), stream.CloseSend())
		}
		var md runtime.ServerMetadata
		if err == nil {
			md.HeaderMD, err = stream.Header()
		}
		if err != nil {
			runtime.HTTPError(ctx, mux, out, w, r, err)
			return
		}
		runtime.ForwardResponseStream(runtime.NewServerMetadataContext(ctx, md), mux, out, w, r, func() (proto.Message, error) {
			m := new(httpbody.HttpBody)
			return m, stream.RecvMsg(m)
		}, mux.GetForwardResponseOptions()...)
	}
}

// registerFiles does what generated code would do.
func registerFiles(_ context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
	return errors.Join(
		mux.HandlePath(http.MethodGet, "/api/files", streamHandler(mux, conn, "/"+fileService+"/Download", "/api/files")),
		mux.HandlePath(http.MethodPost, "/api/files", func(http.ResponseWriter, *http.Request, map[string]string) { panic("uploads are the gateway's own") }),
	)
}

// TestFilesThroughTheBFF: bytes pass bff, gateway and server unchanged, in one process and over a
// network, and the browser notices when a stream is aborted.
func TestFilesThroughTheBFF(t *testing.T) {
	t.Parallel()
	if err := declareFiles(); err != nil {
		t.Fatal(err)
	}
	for _, apart := range []bool{false, true} {
		name := map[bool]string{false: "one process", true: "over a network"}[apart]
		base := startFiles(t, apart)
		for _, c := range []struct {
			name, method, target string
			body                 []byte
			header               []string
			status               int
			want                 []byte
			cut                  bool
			reply                []string
		}{
			{"download", "GET", "/api/files", nil, nil, 200, file, false, []string{"Content-Type", "audio/wav"}},
			{"range", "GET", "/api/files", nil, []string{"Range", "bytes=0-9"}, 206, file[:10], false, []string{"Content-Range", "bytes 0-9/3145728", "Content-Length", "10"}},
			{"failure in the middle", "GET", "/api/files?content_type=breaks", nil, nil, 200, file[:1<<20], true, nil},
			{"upload and back", "POST", "/api/files", file, []string{"Content-Type", "multipart/form-data; boundary=x", "Sec-Fetch-Site", "same-origin"}, 200, file, false, []string{"Content-Type", "multipart/form-data; boundary=x"}},
		} {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				r, err := http.NewRequestWithContext(t.Context(), c.method, base+c.target, bytes.NewReader(c.body))
				if err != nil {
					t.Fatal(err)
				}
				for i := 0; i < len(c.header); i += 2 {
					r.Header.Set(c.header[i], c.header[i+1])
				}
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				got, err := io.ReadAll(resp.Body)
				if resp.StatusCode != c.status || !bytes.Equal(got, c.want) || (err != nil) != c.cut {
					t.Errorf("%d, %d bytes (%.80q), error %v; want %d, %d bytes, an error: %v", resp.StatusCode, len(got), got, err, c.status, len(c.want), c.cut)
				}
				for i := 0; i < len(c.reply); i += 2 {
					if got := resp.Header.Get(c.reply[i]); got != c.reply[i+1] {
						t.Errorf("%s: %q, want %q", c.reply[i], got, c.reply[i+1])
					}
				}
			})
		}
	}
}

// startFiles serves the files behind a bff and returns its address.
func startFiles(t *testing.T, apart bool) string {
	t.Helper()
	issuer := tokentest.NewUnserved(t, "https://issuer.test")
	public := &authv1.Policy{Public: true}
	srv, err := server.New(server.Config{
		Authn:    authn.Config{Provider: oidctest.NewProvider(t, issuer), Audience: shopAudience},
		Register: func(r grpc.ServiceRegistrar) { r.RegisterService(&filesDesc, fileServer{}) },
		Policies: map[string]*authv1.Policy{"/" + fileService + "/Download": public, "/" + fileService + "/Echo": public},
	})
	if err != nil {
		t.Fatal(err)
	}
	conn := srv.Conn()
	if apart {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(listener) }()
		remote, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = remote.Close()
			over, end := context.WithCancel(context.Background())
			end()
			_ = srv.Shutdown(over)
			<-served
		})
		conn = remote
	}
	g, err := gateway.New(gateway.Config{Conn: conn, Services: []gateway.Service{
		gateway.Expose(func(c grpc.ClientConnInterface) grpc.ClientConnInterface { return c }, registerFiles, fileService),
	}})
	if err != nil {
		t.Fatal(err)
	}
	var api http.Handler = g
	if apart {
		rest := httptest.NewUnstartedServer(nil)
		rest.Config = g.Server()
		rest.Start()
		t.Cleanup(rest.Close)
		if api, err = bff.NewUpstream(bff.UpstreamConfig{Targets: []string{rest.URL}, Probe: bff.ProbeNone}); err != nil {
			t.Fatal(err)
		}
	}
	store, err := memory.New(memory.Config{})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewUnstartedServer(nil)
	base := "http://" + front.Listener.Addr().String()
	b, err := bff.New(bff.Config{
		BaseURL: base, Provider: oidctest.NewProvider(t, issuer), Client: bff.ClientConfig{ID: "files", Secret: strings.Repeat("s", 40)},
		Sessions: bff.SessionConfig{Store: store, Secrets: []string{"a secret of this test, long enough to be one: 8c1f"}}, API: api,
	})
	if err != nil {
		t.Fatal(err)
	}
	front.Config = b.Server()
	front.Start()
	t.Cleanup(front.Close)
	return base
}
