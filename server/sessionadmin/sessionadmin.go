// Package sessionadmin owns the operator's view of login sessions: to list
// them, to find a person's, and to end them. How sessions are kept it leaves
// to whoever implements Sessions, and what a session holds under its seal
// nobody here can read.
package sessionadmin

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	sessionadminv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/sessionadmin/v1"
	"github.com/gatehouse-dev/gatehouse/server/validate"
)

// Domain is the domain of every ErrorInfo that this package attaches.
const Domain = "gatehouse"

// The reasons of refusals, in google.rpc.ErrorInfo.reason.
const (
	ReasonSessionNotFound = "SESSION_NOT_FOUND"
	ReasonNoSessionStore  = "NO_SESSION_STORE"          // this server was given none
	ReasonStoreDown       = "SESSION_STORE_UNAVAILABLE" // try again
)

const (
	defaultPageSize = 50
	maxPageSize     = 500
	retryAfter      = time.Second
	namePrefix      = "sessions/"
)

// Key is the key under which a session is kept, a hash of its cookie.
type Key [32]byte

// A Session is what lies outside a session's seal.
type Session struct {
	Key Key
	// Handle is how logs and pages name the session.
	Handle string
	// Issuer and Subject say whose it is; SID is the provider's name for it,
	// "" if it gave none.
	Issuer, Subject, SID string
	CreatedAt            time.Time
	LastSeenAt           time.Time
	IdleExpiresAt        time.Time
	ExpiresAt            time.Time
	UserAgent, Address   string
}

// Sessions are the sessions of all browsers. Errors are outages, after which
// the caller may try again. Implementations are safe for concurrent use.
type Sessions interface {
	// List returns some sessions of anybody, limit at most, and the cursor to
	// go on with; "" begins, and comes back at the end. A cursor that it did
	// not make is ErrCursor.
	List(ctx context.Context, cursor string, limit int) (page []Session, next string, err error)
	// OfSubject returns all sessions of a person.
	OfSubject(ctx context.Context, issuer, subject string) ([]Session, error)
	// End ends one session, and reports whether there was one.
	End(ctx context.Context, key Key) (bool, error)
	// EndOfSubject ends all sessions of a person and has their access tokens
	// refused, as far as that can be done here. It returns how many there were.
	EndOfSubject(ctx context.Context, issuer, subject string) (int, error)
}

// ErrCursor says that Sessions.List was given a cursor that is none.
var ErrCursor = errors.New("sessionadmin: no such cursor")

// Config describes the service.
type Config struct {
	// Sessions are listed and ended. Nil for a server that was given no session
	// store: every method then says so.
	Sessions Sessions
	// Issuer is whose subjects are meant where a request names none.
	Issuer string
	// Logger gets the cause of an outage, which callers are not told; nil for
	// none.
	Logger *slog.Logger
}

// Service implements SessionAdminService. It is safe for concurrent use.
type Service struct {
	sessionadminv1.UnimplementedSessionAdminServiceServer
	sessions Sessions
	issuer   string
	log      *slog.Logger
}

// New makes the service.
func New(cfg Config) *Service {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{sessions: cfg.Sessions, issuer: cfg.Issuer, log: cfg.Logger}
}

// ListSessions implements sessionadminv1.SessionAdminServiceServer.
func (s *Service) ListSessions(ctx context.Context, req *sessionadminv1.ListSessionsRequest) (*sessionadminv1.ListSessionsResponse, error) {
	if s.sessions == nil {
		return nil, errNoStore
	}
	size := int(req.GetPageSize())
	if size == 0 {
		size = defaultPageSize
	}
	size = min(size, maxPageSize)
	list := s.everybody
	if req.GetSubject() != "" {
		list = s.ofSubject
	}
	page, next, err := list(ctx, req, size)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	resp := &sessionadminv1.ListSessionsResponse{NextPageToken: next}
	for i := range page {
		resp.Sessions = append(resp.Sessions, message(&page[i]))
	}
	return resp, nil
}

// everybodyToken marks the page tokens of the list of everybody.
const everybodyToken = "e"

func (s *Service) everybody(ctx context.Context, req *sessionadminv1.ListSessionsRequest, size int) ([]Session, string, error) {
	cursor := ""
	if token := req.GetPageToken(); token != "" {
		raw, err := base64.RawURLEncoding.DecodeString(token)
		marked, ok := strings.CutPrefix(string(raw), everybodyToken)
		if err != nil || !ok || marked == "" {
			return nil, "", errPageToken
		}
		cursor = marked
	}
	page, next, err := s.sessions.List(ctx, cursor, size)
	if err != nil {
		if errors.Is(err, ErrCursor) {
			err = errPageToken
		}
		return nil, "", err
	}
	if next != "" {
		next = base64.RawURLEncoding.EncodeToString([]byte(everybodyToken + next))
	}
	return page, next, nil
}

// ofSubject pages through what is read anew for each page: a person has few
// sessions. A page goes on behind the last session of the one before, also if
// that has ended since.
func (s *Service) ofSubject(ctx context.Context, req *sessionadminv1.ListSessionsRequest, size int) ([]Session, string, error) {
	issuer := cmp.Or(req.GetIssuer(), s.issuer)
	all, err := s.sessions.OfSubject(ctx, issuer, req.GetSubject())
	if err != nil {
		return nil, "", err
	}
	slices.SortFunc(all, newestFirst)
	if token := req.GetPageToken(); token != "" {
		last, err := openPosition(token, issuer, req.GetSubject())
		if err != nil {
			return nil, "", errPageToken
		}
		all = slices.DeleteFunc(all, func(x Session) bool { return newestFirst(x, last) <= 0 })
	}
	if len(all) <= size {
		return all, "", nil
	}
	return all[:size], position(&all[size-1]), nil
}

func newestFirst(a, b Session) int {
	return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), slices.Compare(a.Key[:], b.Key[:]))
}

// DeleteSession implements sessionadminv1.SessionAdminServiceServer.
func (s *Service) DeleteSession(ctx context.Context, req *sessionadminv1.DeleteSessionRequest) (*emptypb.Empty, error) {
	if s.sessions == nil {
		return nil, errNoStore
	}
	key, err := parseName(req.GetName())
	if err != nil {
		return nil, err
	}
	there, err := s.sessions.End(ctx, key)
	switch {
	case err != nil:
		return nil, s.failed(ctx, err)
	case !there:
		return nil, errNotFound
	}
	return &emptypb.Empty{}, nil
}

// EndSessions implements sessionadminv1.SessionAdminServiceServer.
func (s *Service) EndSessions(ctx context.Context, req *sessionadminv1.EndSessionsRequest) (*sessionadminv1.EndSessionsResponse, error) {
	if s.sessions == nil {
		return nil, errNoStore
	}
	ended, err := s.sessions.EndOfSubject(ctx, cmp.Or(req.GetIssuer(), s.issuer), req.GetSubject())
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return &sessionadminv1.EndSessionsResponse{Ended: int32(ended)}, nil //nolint:gosec // nobody has two thousand million
}

func message(s *Session) *sessionadminv1.Session {
	return &sessionadminv1.Session{
		Name:            namePrefix + base64.RawURLEncoding.EncodeToString(s.Key[:]),
		Handle:          s.Handle,
		Issuer:          s.Issuer,
		Subject:         s.Subject,
		ProviderSession: s.SID,
		CreateTime:      timestamppb.New(s.CreatedAt),
		LastSeenTime:    timestamppb.New(s.LastSeenAt),
		IdleExpireTime:  timestamppb.New(s.IdleExpiresAt),
		ExpireTime:      timestamppb.New(s.ExpiresAt),
		UserAgent:       s.UserAgent,
		Address:         s.Address,
	}
}

func parseName(name string) (key Key, err error) {
	text, ok := strings.CutPrefix(name, namePrefix)
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if !ok || err != nil || len(raw) != len(key) {
		return key, validate.Field("name", "is no name of a session; give one as ListSessions returns it")
	}
	return Key(raw), nil
}

// position is a page token of a person's list: where it goes on, and whose
// list it is, so that no other is continued with it.
func position(s *Session) string {
	text := fmt.Sprintf("p%d.%s.%s", s.CreatedAt.UnixMilli(), base64.RawURLEncoding.EncodeToString(s.Key[:]), owner(s.Issuer, s.Subject))
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

func owner(issuer, subject string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(issuer)) + "." + base64.RawURLEncoding.EncodeToString([]byte(subject))
}

func openPosition(token, issuer, subject string) (last Session, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return last, err
	}
	var millis int64
	text, ok := strings.CutSuffix(string(raw), "."+owner(issuer, subject))
	head, tail, _ := strings.Cut(text, ".")
	key, keyErr := base64.RawURLEncoding.DecodeString(tail)
	if _, err := fmt.Sscanf(head, "p%d", &millis); !ok || err != nil || keyErr != nil || len(key) != len(last.Key) {
		return last, errors.New("no position of this list")
	}
	return Session{Key: Key(key), CreatedAt: time.UnixMilli(millis).UTC()}, nil
}

var (
	errPageToken = validate.Field("page_token", "is none of this list; repeat subject and issuer of the request that it came from, or begin without it")
	errNotFound  = refuse(codes.NotFound, ReasonSessionNotFound, "there is no such session, or no longer")
	errNoStore   = refuse(codes.Unimplemented, ReasonNoSessionStore, "this server was given no session store to look after")
)

func refuse(code codes.Code, reason, text string) error {
	st := status.New(code, text)
	if detailed, err := st.WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: Domain}); err == nil {
		st = detailed
	}
	return st.Err()
}

// failed turns an outage into what a caller may know. A status passes as it
// is.
func (s *Service) failed(ctx context.Context, err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	s.log.ErrorContext(ctx, "the session store does not answer", "cause", err)
	st := status.New(codes.Unavailable, "the session store does not answer")
	if detailed, err := st.WithDetails(
		&errdetails.ErrorInfo{Reason: ReasonStoreDown, Domain: Domain},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)},
	); err == nil {
		st = detailed
	}
	return st.Err()
}
