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

// A bearer adds a token to each call. It implements credentials.PerRPCCredentials.
type bearer struct {
	tokens *TokenSource
	secure bool
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b *bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	if b.secure {
		info, _ := credentials.RequestInfoFromContext(ctx)
		err := credentials.CheckSecurityLevel(info.AuthInfo, credentials.PrivacyAndIntegrity)
		if err != nil {
			return nil, status.Errorf(codes.Unauthenticated,
				"the connection does not protect a token: %v", err)
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

// tokenStatus turns the error of a token request into a status: Unauthenticated if the provider
// refused the request, Unavailable if it could not answer.
func tokenStatus(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return status.FromContextError(err).Err()
	}
	code := codes.Unavailable
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	if ok && refused.Response.StatusCode < 500 &&
		refused.Response.StatusCode != http.StatusTooManyRequests {
		code = codes.Unauthenticated
	}
	return status.Error(code, "request an access token: "+publicText(err))
}

// watchStream is watchUnary for streams, whose refusals arrive with the first message.
func (s *TokenSource) watchStream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn,
	method string, stream grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	cs, err := stream(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, err
	}
	return &watchedStream{cs, s}, nil
}

type watchedStream struct {
	grpc.ClientStream
	tokens *TokenSource
}

func (s *watchedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	s.tokens.observe(err)
	return err
}

// watchUnary makes s replace its token after a server has refused it.
func (s *TokenSource) watchUnary(ctx context.Context, method string, req, reply any,
	conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	err := invoke(ctx, method, req, reply, conn, opts...)
	s.observe(err)
	return err
}

// observe makes the next call request another token if err says that a server has refused this
// one.
func (s *TokenSource) observe(err error) {
	if status.Code(err) == codes.Unauthenticated && tokenRefused(err) {
		s.refused()
	}
}

// tokenRefused reports whether another token may be accepted where this one was not.
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
