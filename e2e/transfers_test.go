package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	app "github.com/gatehouse-dev/gatehouse"
	"github.com/gatehouse-dev/gatehouse/server/blobs"
)

// The service of transfers is a program of its own, which TestMain runs: files of any length that
// need no storage. A plan, the content type of a request, says what happens to a transfer.
const (
	transferService = "e2e.transfers.v1.TransferService"
	transferEnv     = "E2E_TRANSFERS" // set for the program
)

const transferFile = `
name: "e2e/transfers/v1/transfers.proto" package: "e2e.transfers.v1" syntax: "proto3"
dependency: ["google/api/annotations.proto", "google/api/httpbody.proto"]
service { name: "TransferService"
  method { name: "Download" input_type: ".google.api.HttpBody" output_type: ".google.api.HttpBody" server_streaming: true
    options { [google.api.http] { get: "/api/transfers" } } }
  method { name: "Log" input_type: ".google.api.HttpBody" output_type: ".google.api.HttpBody" server_streaming: true
    options { [google.api.http] { get: "/api/transfers/log" } } }
  method { name: "Upload" input_type: ".google.api.HttpBody" output_type: ".google.api.HttpBody" client_streaming: true
    options { [google.api.http] { put: "/api/transfers" body: "*" } } }
}`

// A plan is what a transfer is to do.
type plan struct {
	size   int64         // of the file
	fails  int64         // after so many bytes, if not 0
	limit  int64         // of an upload
	pause  time.Duration // after each message, or each 64 KiB
	refuse bool          // an upload, at once
}

func (p plan) String() string {
	return fmt.Sprintf("test/plan; size=%d; fails=%d; limit=%d; pause=%s; refuse=%t", p.size, p.fails, p.limit, p.pause, p.refuse)
}

func parsePlan(text string) (p plan, err error) {
	_, params, err := mime.ParseMediaType(text)
	number := func(name string) int64 {
		n, e := strconv.ParseInt(params[name], 10, 64)
		err = errors.Join(err, e)
		return n
	}
	p = plan{size: number("size"), fails: number("fails"), limit: number("limit"), refuse: params["refuse"] == "true"}
	var e error
	p.pause, e = time.ParseDuration(params["pause"])
	return p, errors.Join(err, e)
}

// period is the length of the pattern that files repeat: a prime, so that no two parts of a
// power of two are alike.
const period = 65537

var pattern = func() []byte {
	b, x := make([]byte, 2*period), uint32(1)
	for i := range period {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	copy(b[period:], b[:period])
	return b
}()

// A file of the pattern, from an offset on.
type patternFile struct {
	offset, left int64
	fails        int64 // position
	pause        time.Duration
	ctx          context.Context
}

func (f *patternFile) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	if f.fails > 0 && f.offset >= f.fails {
		return 0, status.Error(codes.DataLoss, "the disk is gone")
	}
	if f.pause > 0 {
		select {
		case <-time.After(f.pause):
		case <-f.ctx.Done():
			return 0, f.ctx.Err()
		}
	}
	at := f.offset % period
	n := copy(p, pattern[at:min(at+f.left, int64(len(pattern)))])
	f.offset += int64(n)
	f.left -= int64(n)
	return n, nil
}

func (f *patternFile) Close() error { return nil }

// sumOf returns the hash of a file.
func sumOf(size int64) string {
	h := sha256.New()
	_, _ = io.Copy(h, &patternFile{left: size})
	return hex.EncodeToString(h.Sum(nil))
}

type transfers interface{ isTransfers() }

// A transferServer records how its transfers end.
type transferServer struct {
	mu    sync.Mutex
	lines []string
}

func (*transferServer) isTransfers() {}

func (s *transferServer) record(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

func (s *transferServer) download(ss grpc.ServerStream, name string) error {
	p, err := parsePlan(name)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	err = blobs.Serve(&grpc.GenericServerStream[httpbody.HttpBody, httpbody.HttpBody]{ServerStream: ss}, blobs.File{
		Size: p.size, Name: "pattern.bin", ETag: fmt.Sprint("p", p.size),
		Open: func(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
			s.record("open %s", name)
			return &patternFile{offset, length, p.fails, p.pause, ctx}, nil
		},
	})
	s.record("download %s: %v", name, status.Code(err))
	return err
}

func (s *transferServer) upload(ss grpc.ServerStream) error {
	stream := &grpc.GenericServerStream[httpbody.HttpBody, httpbody.HttpBody]{ServerStream: ss}
	_, upload, err := blobs.Receive(stream, blobs.Body, 4<<30)
	if err != nil {
		return err
	}
	p, err := parsePlan(upload.ContentType)
	switch {
	case err != nil:
		return status.Error(codes.InvalidArgument, err.Error())
	case p.refuse:
		return status.Error(codes.PermissionDenied, "not you")
	}
	s.record("open %s", upload.ContentType)
	buffer := make([]byte, 64<<10)
	for err == nil {
		if _, err = upload.Read(buffer); p.limit > 0 && upload.Size() > p.limit {
			err = status.Error(codes.ResourceExhausted, "the disk is full")
		}
		if p.pause > 0 {
			time.Sleep(p.pause)
		}
	}
	if err == io.EOF {
		err = nil
	}
	s.record("upload %s: %v", upload.ContentType, status.Code(err))
	if err != nil {
		return err
	}
	return stream.SendAndClose(&httpbody.HttpBody{ContentType: "text/plain", Data: []byte(hex.EncodeToString(upload.SHA256()))})
}

func (s *transferServer) log(ss grpc.ServerStream) error {
	s.mu.Lock()
	text := strings.Join(s.lines, "\n")
	s.mu.Unlock()
	return ss.SendMsg(&httpbody.HttpBody{ContentType: "text/plain", Data: []byte(text)})
}

var transferDesc = grpc.ServiceDesc{ServiceName: transferService, HandlerType: (*transfers)(nil), Streams: []grpc.StreamDesc{
	{StreamName: "Download", ServerStreams: true, Handler: func(srv any, ss grpc.ServerStream) error {
		m := new(httpbody.HttpBody)
		if err := ss.RecvMsg(m); err != nil {
			return err
		}
		return srv.(*transferServer).download(ss, m.GetContentType())
	}},
	{StreamName: "Log", ServerStreams: true, Handler: func(srv any, ss grpc.ServerStream) error {
		if err := ss.RecvMsg(new(httpbody.HttpBody)); err != nil {
			return err
		}
		return srv.(*transferServer).log(ss)
	}},
	{StreamName: "Upload", ClientStreams: true, Handler: func(srv any, ss grpc.ServerStream) error { return srv.(*transferServer).upload(ss) }},
}}

// registerTransfers does what generated code would do.
func registerTransfers(_ context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
	return errors.Join(
		mux.HandlePath(http.MethodGet, "/api/transfers", streamHandler(mux, conn, "/"+transferService+"/Download", "/api/transfers")),
		mux.HandlePath(http.MethodGet, "/api/transfers/log", streamHandler(mux, conn, "/"+transferService+"/Log", "/api/transfers/log")),
		mux.HandlePath(http.MethodPut, "/api/transfers", func(http.ResponseWriter, *http.Request, map[string]string) { panic("uploads are the gateway's own") }),
	)
}

// transferProgram is the program with the service.
func transferProgram() {
	file := new(descriptorpb.FileDescriptorProto)
	err := prototext.Unmarshal([]byte(transferFile), file)
	if err == nil {
		desc, failed := protodesc.NewFile(file, protoregistry.GlobalFiles)
		if err = failed; err == nil {
			err = protoregistry.GlobalFiles.RegisterFile(desc)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	app.Main(app.App{Services: []app.Service{app.NewService(&transferDesc,
		func(c grpc.ClientConnInterface) grpc.ClientConnInterface { return c }, registerTransfers, &transferServer{})}})
}

// A transferSystem is the program with a signed-in user, in one or more processes.
type transferSystem struct {
	base      string // of the bff
	processes []*process
	user      *visitor
	env       []string
}

// transferTopologies are the ways to run the program.
var transferTopologies = []string{"one process", "bff and gateway in one process", "three processes"}

// startTransfers starts the program, and signs a user in whose tokens live for ttl.
func startTransfers(t *testing.T, topology string, ttl time.Duration, more ...string) *transferSystem {
	t.Helper()
	address, rest, rpc := freeAddress(t), freeAddress(t), freeAddress(t)
	s := &transferSystem{base: "http://localhost:" + portOf(address)}
	_, env, _ := startGated(t, s.base, ttl)
	env = append(append(env, transferEnv+"=1", "GATEHOUSE_SESSION_STORE=memory:", "GATEHOUSE_DATABASE_URL=memory:",
		"GATEHOUSE_LISTEN_BFF="+address, "GATEHOUSE_LISTEN_GATEWAY="+rest, "GATEHOUSE_LISTEN_GRPC="+rpc), more...)
	s.env = env
	run := func(args ...string) {
		s.processes = append(s.processes, start(t, args[0], env, executable(t), args...))
	}
	switch topology {
	case "one process":
		run("serve")
	case "bff and gateway in one process":
		run("server")
		run("serve", "--grpc-target=dns:///"+rpc)
	case "three processes":
		run("server")
		run("gateway", "--grpc-target=dns:///"+rpc)
		run("bff", "--gateway-url=http://"+rest)
		s.processes[1].ready(t, "http://"+rest+"/readyz")
	}
	s.processes[len(s.processes)-1].ready(t, s.base+"/readyz")
	s.user = entersAs(t, s.base, "buyer")
	s.user.client.Timeout = 0
	eventually(t, "the API answers", func() error { // the gateway has to find the server ready
		if got := s.user.fetch(t, "/api/transfers/log"); got.status != http.StatusOK {
			return httpError(got)
		}
		return nil
	})
	return s
}

// request returns a request of the user's page.
func (s *transferSystem) request(ctx context.Context, t *testing.T, method string, p plan, body io.Reader, header ...string) *http.Request {
	t.Helper()
	address := s.base + "/api/transfers"
	if method != http.MethodPut {
		address += "?content_type=" + strings.NewReplacer(" ", "+", ";", "%3B", "=", "%3D", "/", "%2F").Replace(p.String())
	}
	r, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		t.Fatal(err)
	}
	if method == http.MethodPut {
		r.Header.Set("Content-Type", p.String())
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Sec-Fetch-Mode", "cors")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// do sends a request of the user's page.
func (s *transferSystem) do(t *testing.T, r *http.Request) *http.Response {
	t.Helper()
	resp, err := s.user.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// recorded waits until the service has recorded a line.
func (s *transferSystem) recorded(t *testing.T, limit time.Duration, line string) {
	t.Helper()
	within(t, limit, "the service records "+line, func() error {
		got := s.user.fetch(t, "/api/transfers/log")
		if !slices.Contains(strings.Split(got.body, "\n"), line) {
			return fmt.Errorf("%d: it has recorded\n%s", got.status, got.body)
		}
		return nil
	})
}

// executable returns the path of this test's binary.
func executable(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
