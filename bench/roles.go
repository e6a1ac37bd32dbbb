//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/catalog"
)

// The reference servers, which are this program in another role.
const (
	roleBare  = "serve-bare"  // a net/http handler that writes JSON
	rolePlain = "serve-plain" // grpc-gateway over an in-process channel, as in its documentation
)

// serve runs this program in a role at an address, until the context ends.
func serve(ctx context.Context, role, address string) error {
	handler := http.Handler(http.HandlerFunc(bare))
	if role == rolePlain {
		channel := &inprocgrpc.Channel{}
		audioarchivev1.RegisterStatusServiceServer(channel, catalog.Status{})
		mux := runtime.NewServeMux()
		if err := audioarchivev1.RegisterStatusServiceHandlerClient(ctx, mux, audioarchivev1.NewStatusServiceClient(channel)); err != nil {
			return err
		}
		handler = mux
	}
	server := &http.Server{Addr: address, Handler: handler}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func bare(w http.ResponseWriter, _ *http.Request) {
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
