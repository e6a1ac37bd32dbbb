//go:build linux

package peers

import (
	"context"

	"connectrpc.com/vanguard"
	"connectrpc.com/vanguard/vanguardgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/catalog"
)

// vanguardRow is the transcoder of Connect's authors in front of a gRPC server in the same process,
// with the same verification of tokens as grpc-gateway-jwx.
func vanguardRow() rows.Row {
	return rows.Row{
		Name: "vanguard", Title: "vanguard-go in process with jwx and a token cache", Product: "vanguard-go", Credential: rows.Bearer,
		Caches: jwxCaches, Logs: jwxLogs,
		Start: func(ctx context.Context, e *rows.Env) (*rows.Target, error) {
			return startHandwritten(ctx, e, roleVanguard, "connectrpc.com/vanguard", "github.com/lestrrat-go/jwx/v2")
		},
	}
}

const roleVanguard = "vanguard"

// serveVanguard registers the JSON codec that vanguardgrpc highly recommends, so that messages are
// converted once.
func serveVanguard(ctx context.Context, address string, args []string) error {
	verifier, err := newVerifier(ctx, args[0])
	if err != nil {
		return err
	}
	encoding.RegisterCodec(vanguardgrpc.NewCodec(&vanguard.JSONCodec{
		MarshalOptions:   protojson.MarshalOptions{EmitUnpopulated: true},
		UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
	}))
	server := grpc.NewServer(grpc.UnaryInterceptor(verifier.intercept))
	audioarchivev1.RegisterStatusServiceServer(server, catalog.Status{})
	transcoder, err := vanguardgrpc.NewTranscoder(server)
	if err != nil {
		return err
	}
	return rows.ListenAndServe(ctx, address, logRequests(transcoder))
}
