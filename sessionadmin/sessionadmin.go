// Package sessionadmin owns the operator's service for login sessions: to list
// them, to find those of a subject, and to end them. It leaves how sessions are
// kept to the stores of package session, and what a session holds under its seal
// cannot be read here.
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

	"go.opentelemetry.io/otel/metric"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	sessionadminv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/sessionadmin/v1"
	"github.com/gatehouse-dev/gatehouse/internal/auditlog"
	"github.com/gatehouse-dev/gatehouse/internal/reason"
	"github.com/gatehouse-dev/gatehouse/internal/revocation"
	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/validate"
)

// Domain is the domain of every google.rpc.ErrorInfo that the service returns.
const Domain = reason.Domain

// The reasons of refusals, in google.rpc.ErrorInfo.reason.
const (
	ReasonSessionNotFound = reason.SessionNotFound
	ReasonNoSessionStore  = reason.NoSessionStore          // Config.Store is nil
	ReasonStoreDown       = reason.SessionStoreUnavailable // retry
)

const (
	defaultPageSize = 50
	maxPageSize     = 500
	retryAfter      = time.Second
	namePrefix      = "sessions/"
)

// A Store is a session store that also keeps notes, as the stores of package
// session do.
type Store interface {
	session.Store
	session.NoteStore
}

// A Denylist refuses access tokens. The lists of package denylist, in the server,
// are such. It is safe for concurrent use.
type Denylist interface {
	// DenySubject refuses every token of the subject that was not issued after at,
	// until the last of them expires; the zero time if that is unknown.
	DenySubject(ctx context.Context, issuer, sub string, at, until time.Time) error
}

// Config configures a [Service].
type Config struct {
	// Store is the session store of the bff. Default: none, and every method
	// returns UNIMPLEMENTED, for a server that cannot reach the store.
	Store Store
	// Denylist refuses the access tokens of a subject whose sessions are ended.
	// Default: access tokens stay valid until they expire.
	Denylist Denylist
	// Issuer is the issuer of the subjects in requests that name none. Default:
	// none, and such requests are invalid.
	Issuer string
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Logger gets the causes of outages, which callers do not see. Default: no log.
	Logger *slog.Logger
	// Audit gets an event for each session that an operator ends, and each subject
	// that is revoked, with the caller's issuer and subject. Default: none.
	Audit audit.Handler
	// Ended is called with the event of each session that an operator ends. It must not
	// block. Default: none.
	Ended func(context.Context, audit.Event)
	// MeterProvider makes the counter of these events. Default: none.
	MeterProvider metric.MeterProvider
}

// Service implements sessionadminv1.SessionAdminServiceServer. It is safe for
// concurrent use.
type Service struct {
	sessionadminv1.UnimplementedSessionAdminServiceServer
	store   Store // nil for none
	index   session.Index
	revoker *revocation.Revoker
	issuer  string
	now     func() time.Time
	logger  *slog.Logger
	audit   *auditlog.Recorder
}

// New returns a service. Register it with
// sessionadminv1.RegisterSessionAdminServiceServer.
func New(cfg Config) *Service {
	s := &Service{store: cfg.Store, issuer: cfg.Issuer, now: cfg.Now, logger: cfg.Logger}
	if s.now == nil {
		s.now = time.Now
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	s.audit = auditlog.New(auditlog.Config{
		Handler: cfg.Audit, Observe: cfg.Ended, Part: "server", Now: s.now, Logger: s.logger, MeterProvider: cfg.MeterProvider,
	})
	if s.store != nil {
		s.index = session.IndexOf(s.store)
		revokes := revocation.Config{Store: s.store, Now: s.now}
		if cfg.Denylist != nil {
			revokes.Deny = func(ctx context.Context, t revocation.Target) error {
				return cfg.Denylist.DenySubject(ctx, t.Issuer, t.Subject, t.DecidedAt, time.Time{})
			}
		}
		s.revoker = revocation.New(revokes)
	}
	return s
}

// ListSessions implements sessionadminv1.SessionAdminServiceServer. Pages have 50
// sessions by default and 500 at most. The order of all sessions is that of the
// store; those of one subject are listed newest first.
func (s *Service) ListSessions(ctx context.Context, req *sessionadminv1.ListSessionsRequest) (*sessionadminv1.ListSessionsResponse, error) {
	if s.store == nil {
		return nil, errNoStore
	}
	size := min(cmp.Or(int(req.GetPageSize()), defaultPageSize), maxPageSize)
	list := s.listAll
	if req.GetSubject() != "" {
		list = s.listBySubject
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

// allToken marks the page tokens of the list of all sessions.
const allToken = "e"

func (s *Service) listAll(ctx context.Context, req *sessionadminv1.ListSessionsRequest, size int) ([]session.Record, string, error) {
	cursor := ""
	if token := req.GetPageToken(); token != "" {
		raw, err := base64.RawURLEncoding.DecodeString(token)
		marked, ok := strings.CutPrefix(string(raw), allToken)
		if err != nil || !ok || marked == "" {
			return nil, "", errPageToken
		}
		cursor = marked
	}
	page, next, err := s.store.List(ctx, cursor, size)
	if err != nil {
		if errors.Is(err, session.ErrCursor) {
			err = errPageToken
		}
		return nil, "", err
	}
	if next != "" {
		next = base64.RawURLEncoding.EncodeToString([]byte(allToken + next))
	}
	return page, next, nil
}

// listBySubject reads all sessions of the subject for each page: a subject has
// few. A page continues after the last session of the one before, even if that
// has ended since.
func (s *Service) listBySubject(ctx context.Context, req *sessionadminv1.ListSessionsRequest, size int) ([]session.Record, string, error) {
	issuer := cmp.Or(req.GetIssuer(), s.issuer)
	if issuer == "" {
		return nil, "", errNoIssuer
	}
	all, err := s.index.ListBySubject(ctx, issuer, req.GetSubject())
	if err != nil {
		return nil, "", err
	}
	slices.SortFunc(all, newestFirst)
	if token := req.GetPageToken(); token != "" {
		last, err := openPosition(token, issuer, req.GetSubject())
		if err != nil {
			return nil, "", errPageToken
		}
		all = slices.DeleteFunc(all, func(x session.Record) bool { return newestFirst(x, last) <= 0 })
	}
	if len(all) <= size {
		return all, "", nil
	}
	return all[:size], position(&all[size-1]), nil
}

// newestFirst orders the sessions of a subject.
func newestFirst(a, b session.Record) int {
	return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), slices.Compare(a.ID[:], b.ID[:]))
}

// DeleteSession implements sessionadminv1.SessionAdminServiceServer. It returns
// NOT_FOUND if the session does not exist or has ended.
func (s *Service) DeleteSession(ctx context.Context, req *sessionadminv1.DeleteSessionRequest) (*emptypb.Empty, error) {
	if s.store == nil {
		return nil, errNoStore
	}
	id, err := parseName(req.GetName())
	if err != nil {
		return nil, err
	}
	var owner session.Record
	if s.audit.Enabled() { // afterwards its subject is unknown; an error is that of Delete, too
		owner, _ = s.store.Get(ctx, id)
	}
	switch err := s.store.Delete(ctx, id, session.ReasonOperator); {
	case errors.Is(err, session.ErrNotFound):
		return nil, errNotFound
	case err != nil:
		return nil, s.failed(ctx, err)
	}
	s.record(ctx, audit.Event{
		Action: audit.SessionEnded, Issuer: owner.Issuer, Subject: owner.Subject, Session: id.String(),
	})
	return &emptypb.Empty{}, nil
}

// EndSessions implements sessionadminv1.SessionAdminServiceServer. It revokes
// everything of the subject, logins in progress included.
func (s *Service) EndSessions(ctx context.Context, req *sessionadminv1.EndSessionsRequest) (*sessionadminv1.EndSessionsResponse, error) {
	if s.store == nil {
		return nil, errNoStore
	}
	issuer := cmp.Or(req.GetIssuer(), s.issuer)
	if issuer == "" {
		return nil, errNoIssuer
	}
	target := revocation.Target{Issuer: issuer, Subject: req.GetSubject(), DecidedAt: s.now()}
	ended, err := s.revoker.Revoke(ctx, target, session.ReasonOperator)
	for _, id := range ended { // also after an error of the rest
		s.record(ctx, audit.Event{
			Action: audit.SessionEnded, Issuer: issuer, Subject: target.Subject, Session: id.String(),
		})
	}
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	s.record(ctx, audit.Event{
		Action: audit.SubjectRevoked, Issuer: issuer, Subject: target.Subject, Count: int64(len(ended)),
	})
	return &sessionadminv1.EndSessionsResponse{Ended: int32(len(ended))}, nil // a subject has far fewer
}

// record records what an operator has done.
func (s *Service) record(ctx context.Context, e audit.Event) {
	e.Cause = audit.Operator
	if caller, ok := authn.FromContext(ctx); ok {
		e.ByIssuer, e.BySubject = caller.Issuer, cmp.Or(caller.Subject, caller.ClientID)
	}
	s.audit.Record(ctx, e)
}

// message returns what operators see of a session.
func message(r *session.Record) *sessionadminv1.Session {
	return &sessionadminv1.Session{
		Name:            namePrefix + base64.RawURLEncoding.EncodeToString(r.ID[:]),
		Handle:          r.ID.String(),
		Issuer:          r.Issuer,
		Subject:         r.Subject,
		ProviderSession: r.SID,
		CreateTime:      timestamppb.New(r.CreatedAt),
		LastSeenTime:    timestamppb.New(r.LastSeenAt),
		IdleExpireTime:  timestamppb.New(r.IdleExpiresAt),
		ExpireTime:      timestamppb.New(r.ExpiresAt),
		UserAgent:       r.UserAgent,
		Address:         r.Address,
	}
}

// parseName returns the ID in the resource name of a session.
func parseName(name string) (id session.ID, err error) {
	text, ok := strings.CutPrefix(name, namePrefix)
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if !ok || err != nil || len(raw) != len(id) {
		return id, validate.Field("name", "is not the name of a session; give one as ListSessions returns it")
	}
	return session.ID(raw), nil
}

// position is a page token of a subject's list: where it continues, and of which
// subject, so that it does not continue another list.
func position(r *session.Record) string {
	text := fmt.Sprintf("p%d.%s.%s", r.CreatedAt.UnixMilli(), base64.RawURLEncoding.EncodeToString(r.ID[:]), owner(r.Issuer, r.Subject))
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

func owner(issuer, subject string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(issuer)) + "." + base64.RawURLEncoding.EncodeToString([]byte(subject))
}

func openPosition(token, issuer, subject string) (last session.Record, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return last, err
	}
	var millis int64
	text, ok := strings.CutSuffix(string(raw), "."+owner(issuer, subject))
	head, tail, _ := strings.Cut(text, ".")
	id, idErr := base64.RawURLEncoding.DecodeString(tail)
	if _, err := fmt.Sscanf(head, "p%d", &millis); !ok || err != nil || idErr != nil || len(id) != len(last.ID) {
		return last, errors.New("not a position in this list")
	}
	return session.Record{ID: session.ID(id), CreatedAt: time.UnixMilli(millis).UTC()}, nil
}

var (
	errPageToken = validate.Field("page_token", "is not a token of this list; repeat subject and issuer of the request that returned it, or begin without it")
	errNotFound  = refuse(codes.NotFound, ReasonSessionNotFound, "the session does not exist or has ended")
	errNoIssuer  = validate.Field("issuer", "is missing, and this server has no default; give the issuer of the subject")
	errNoStore   = refuse(codes.Unimplemented, ReasonNoSessionStore, "this server has no session store")
)

// refuse returns a status with an ErrorInfo.
func refuse(code codes.Code, why, text string) error {
	return reason.Status(code, text, &errdetails.ErrorInfo{Reason: why, Domain: Domain}).Err()
}

// failed returns the public form of an outage and logs the cause. A status passes
// unchanged.
func (s *Service) failed(ctx context.Context, err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	s.logger.WarnContext(ctx, "operator's call failed: session store unavailable", "err", err)
	return reason.Status(codes.Unavailable, "the session store is unavailable",
		&errdetails.ErrorInfo{Reason: ReasonStoreDown, Domain: Domain},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)}).Err()
}
