package client

import (
	"context"
	"errors"
	"net/http"

	"golang.org/x/oauth2"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/internal/reason"
)

// bearer gives each call its token. It is credentials.PerRPCCredentials.
type bearer struct {
	tokens *TokenSource
	secure bool
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b *bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	if b.secure {
		info, _ := credentials.RequestInfoFromContext(ctx)
		if err := credentials.CheckSecurityLevel(info.AuthInfo, credentials.PrivacyAndIntegrity); err != nil {
			return nil, status.Errorf(codes.Unauthenticated, "the connection does not protect a token: %v", err)
		}
	}
	token, err := b.tokens.Token(ctx)
	if err != nil {
		return nil, tokenStatus(err)
	}
	return map[string]string{"authorization": "Bearer " + token.AccessToken}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (b *bearer) RequireTransportSecurity() bool { return b.secure }

// tokenStatus tells a provider that refuses from one that cannot answer.
func tokenStatus(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return status.FromContextError(err).Err()
	}
	code := codes.Unavailable
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok && refused.Response.StatusCode < 500 && refused.Response.StatusCode != http.StatusTooManyRequests {
		code = codes.Unauthenticated
	}
	return status.Error(code, "no access token from the provider: "+publicText(err))
}

// heedStream is heedUnary for streams, which are refused when they are read.
func (s *TokenSource) heedStream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	cs, err := stream(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, err
	}
	return &heeded{cs, s}, nil
}

type heeded struct {
	grpc.ClientStream
	tokens *TokenSource
}

func (h *heeded) RecvMsg(m any) error {
	err := h.ClientStream.RecvMsg(m)
	if status.Code(err) == codes.Unauthenticated && tokenRefused(err) {
		h.tokens.refused()
	}
	return err
}

// heedUnary has another token fetched when a server refuses the one it got.
func (s *TokenSource) heedUnary(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, conn, opts...)
	if status.Code(err) == codes.Unauthenticated && tokenRefused(err) {
		s.refused()
	}
	return err
}

func tokenRefused(err error) bool {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == reason.Domain {
			switch info.GetReason() {
			case reason.TokenExpired, reason.TokenRevoked, reason.TokenInvalid:
				return true
			}
		}
	}
	return false
}
