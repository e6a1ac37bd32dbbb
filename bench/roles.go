//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
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

// serve runs this program in a role.
func serve(ctx context.Context, role string, out io.Writer) error {
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
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintln(out, listener.Addr())
	server := &http.Server{Handler: handler}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
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
