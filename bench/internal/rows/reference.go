//go:build linux

package rows

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"

	"github.com/gatehouse-dev/gatehouse/bench/internal/proc"
	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/catalog"
)

// references returns the rows that other rows are judged by.
func references() []Row {
	return []Row{
		{
			Name: Floor, Title: "bare net/http handler", Product: Reference, Credential: None,
			Caches: "nothing", Logs: "nothing",
			Start: func(ctx context.Context, e *Env) (*Target, error) { return startReference(ctx, e, roleFloor) },
		},
		{
			Name: "grpc-gateway", Title: "grpc-gateway in process, no authentication", Product: "grpc-gateway", Credential: None,
			Caches: "nothing", Logs: "nothing",
			Start: func(ctx context.Context, e *Env) (*Target, error) { return startReference(ctx, e, rolePlain) },
		},
	}
}

const (
	roleFloor = "floor"
	rolePlain = "grpc-gateway"
)

func startReference(ctx context.Context, e *Env, role string) (*Target, error) {
	p, address, err := e.LaunchRole(ctx, role)
	if err != nil {
		return nil, err
	}
	t := &Target{Address: address, Processes: []*proc.Process{p}}
	if role == rolePlain {
		t.Versions = []string{ModuleVersion("github.com/grpc-ecosystem/grpc-gateway/v2")}
	}
	return t, nil
}

func serveFloor(ctx context.Context, address string, _ []string) error {
	return ListenAndServe(ctx, address, http.HandlerFunc(Bare))
}

// servePlain serves grpc-gateway with its defaults over an in-process channel, as in its
// documentation.
func servePlain(ctx context.Context, address string, _ []string) error {
	channel := &inprocgrpc.Channel{}
	audioarchivev1.RegisterStatusServiceServer(channel, catalog.Status{})
	mux := runtime.NewServeMux()
	if err := audioarchivev1.RegisterStatusServiceHandlerClient(ctx, mux, audioarchivev1.NewStatusServiceClient(channel)); err != nil {
		return err
	}
	return ListenAndServe(ctx, address, mux)
}

// ListenAndServe serves until the context ends, for a role.
func ListenAndServe(ctx context.Context, address string, handler http.Handler) error {
	server := &http.Server{Addr: address, Handler: handler}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Bare is the handler of the floor.
func Bare(w http.ResponseWriter, _ *http.Request) {
	content, err := json.Marshal(struct {
		Message string `json:"message"`
	}{"This is a private route"})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(content)
}
