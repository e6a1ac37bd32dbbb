package sessionadmin_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	sessionadminv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/sessionadmin/v1"
	"github.com/gatehouse-dev/gatehouse/internal/test/oidctest"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/server"
	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/sessionadmin"
)

const (
	audience = "https://api.test"
	issuer   = "https://issuer.test"
)

// start is the time at which the sessions of a test begin.
var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// store is a session store that can be broken.
type store struct {
	*memory.Store
	added int
	down  error
}

func newStore(t *testing.T) *store {
	t.Helper()
	s, err := memory.New(memory.Config{Now: func() time.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &store{Store: s}
}

func (s *store) List(ctx context.Context, cursor string, limit int) ([]session.Record, string, error) {
	if s.down != nil {
		return nil, "", s.down
	}
	return s.Store.List(ctx, cursor, limit)
}

func (s *store) ListBySubject(ctx context.Context, issuer, subject string) ([]session.Record, error) {
	if s.down != nil {
		return nil, s.down
	}
	return s.Store.ListBySubject(ctx, issuer, subject)
}

func (s *store) Delete(ctx context.Context, id session.ID, why session.Reason) error {
	if s.down != nil {
		return s.down
	}
	return s.Store.Delete(ctx, id, why)
}

func (s *store) DeleteBySubject(ctx context.Context, issuer, subject string, why session.Reason) ([]session.ID, error) {
	if s.down != nil {
		return nil, s.down
	}
	return s.Store.DeleteBySubject(ctx, issuer, subject, why)
}

// add creates n sessions of a subject, each a minute older. Their handles count
// up from 0.
func (s *store) add(t *testing.T, subject string, n int) {
	t.Helper()
	for range n {
		r := session.Record{ID: session.ID{31: 1}, Issuer: issuer, Subject: subject, SID: "sid", UserAgent: "Mozilla/5.0", Address: "192.0.2.7"}
		binary.BigEndian.PutUint64(r.ID[:8], uint64(s.added))
		r.CreatedAt = start.Add(-time.Duration(s.added) * time.Minute)
		r.LastSeenAt, r.IdleExpiresAt, r.ExpiresAt = r.CreatedAt.Add(time.Second), r.CreatedAt.Add(time.Hour), r.CreatedAt.Add(24*time.Hour)
		if err := s.Create(t.Context(), r, session.ID{}); err != nil {
			t.Fatal(err)
		}
		s.added++
	}
}

// left returns the live sessions.
func (s *store) left(t *testing.T) []session.Record {
	t.Helper()
	records, _, err := s.Store.List(t.Context(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// A system is the service behind all interceptors of a server.
type system struct {
	sessionadminv1.SessionAdminServiceClient
	t      *testing.T
	tokens *tokentest.Issuer
	denied []string
	events []audit.Event
	log    *bytes.Buffer
}

func newSystem(t *testing.T, with *store) *system {
	t.Helper()
	s := &system{t: t, tokens: tokentest.NewUnserved(t, issuer), log: &bytes.Buffer{}}
	cfg := sessionadmin.Config{Issuer: issuer, Now: func() time.Time { return start }, Logger: slog.New(slog.NewTextHandler(s.log, nil))}
	cfg.Denylist = s
	cfg.Audit = func(_ context.Context, e audit.Event) error {
		s.events = append(s.events, e)
		return nil
	}
	if with != nil {
		cfg.Store = with
	}
	srv, err := server.New(server.Config{
		Authn: authn.Config{Provider: oidctest.NewProvider(t, s.tokens), Audience: audience},
		Register: func(r grpc.ServiceRegistrar) {
			sessionadminv1.RegisterSessionAdminServiceServer(r, sessionadmin.New(cfg))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Run(ctx) // ends with the context
	}()
	t.Cleanup(func() { stop(); <-done })
	s.SessionAdminServiceClient = sessionadminv1.NewSessionAdminServiceClient(srv.Conn())
	for srv.Ready() != nil { // a call waits for the keys
		_, _ = s.ListSessions(s.operator(), &sessionadminv1.ListSessionsRequest{})
	}
	return s
}

// DenySubject makes the system its own denylist.
func (s *system) DenySubject(_ context.Context, issuer, sub string, at, _ time.Time) error {
	s.denied = append(s.denied, sub+" of "+issuer+" until "+at.Format(time.TimeOnly))
	return nil
}

func (s *system) operator() context.Context { return s.as("sessions:admin") }

func (s *system) as(permissions ...string) context.Context {
	token := s.tokens.Mint(map[string]any{"sub": "operator", "aud": audience, "permissions": append([]string{}, permissions...)})
	return metadata.AppendToOutgoingContext(s.t.Context(), "authorization", "Bearer "+token)
}

func (s *system) list(req *sessionadminv1.ListSessionsRequest) *sessionadminv1.ListSessionsResponse {
	s.t.Helper()
	resp, err := s.ListSessions(s.operator(), req)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp
}

// pages reads a list to its end and returns the handles of each page.
func (s *system) pages(req *sessionadminv1.ListSessionsRequest) []string {
	s.t.Helper()
	var pages []string
	for range 10 {
		resp := s.list(req)
		var handles []string
		for _, x := range resp.GetSessions() {
			handles = append(handles, strings.TrimLeft(x.GetHandle(), "0"))
		}
		pages = append(pages, strings.Join(handles, ","))
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return pages
		}
	}
	s.t.Fatal("the list does not end")
	return nil
}

// Events say which operator has ended which session of which user.
func TestAudit(t *testing.T) {
	t.Parallel()
	with := newStore(t)
	with.add(t, "anna", 3)
	s := newSystem(t, with)
	first := s.list(&sessionadminv1.ListSessionsRequest{}).GetSessions()[0]
	for range 2 { // the second finds none
		_, _ = s.DeleteSession(s.operator(), &sessionadminv1.DeleteSessionRequest{Name: first.GetName()})
	}
	_, _ = s.DeleteSession(s.as(), &sessionadminv1.DeleteSessionRequest{Name: first.GetName()}) // not allowed
	if _, err := s.EndSessions(s.operator(), &sessionadminv1.EndSessionsRequest{Subject: "anna"}); err != nil {
		t.Fatal(err)
	}
	var actions []audit.Action
	for _, e := range s.events {
		actions = append(actions, e.Action)
		if e.Cause != audit.Operator || e.Issuer != issuer || e.Subject != "anna" || e.ByIssuer != issuer || e.BySubject != "operator" || e.Part != "server" || !e.Time.Equal(start) || e.RequestID == "" {
			t.Errorf("event %+v, want one by the operator about anna", e)
		}
	}
	if want := []audit.Action{audit.SessionEnded, audit.SessionEnded, audit.SessionEnded, audit.SubjectRevoked}; !slices.Equal(actions, want) {
		t.Fatalf("events %q, want %q", actions, want)
	}
	if got := s.events[0].Session; got != first.GetHandle() {
		t.Errorf("session %q, want the handle %q", got, first.GetHandle())
	}
	if got := s.events[3].Count; got != 2 {
		t.Errorf("count %d, want the 2 sessions", got)
	}
}

func TestOnlyOperators(t *testing.T) {
	t.Parallel()
	with := newStore(t)
	with.add(t, "anna", 1)
	s := newSystem(t, with)
	name := s.list(&sessionadminv1.ListSessionsRequest{}).GetSessions()[0].GetName()
	for who, ctx := range map[string]context.Context{
		"anonymous": t.Context(), "user": s.as(), "seller": s.as("products:write"), "similar permissions": s.as("sessions:admin:not", "sessions"),
	} {
		want := codes.PermissionDenied
		if who == "anonymous" {
			want = codes.Unauthenticated
		}
		_, err1 := s.ListSessions(ctx, &sessionadminv1.ListSessionsRequest{})
		_, err2 := s.DeleteSession(ctx, &sessionadminv1.DeleteSessionRequest{Name: name})
		_, err3 := s.EndSessions(ctx, &sessionadminv1.EndSessionsRequest{Subject: "anna"})
		for _, err := range []error{err1, err2, err3} {
			if status.Code(err) != want {
				t.Errorf("%s got %v, want %v", who, err, want)
			}
		}
	}
	if len(with.left(t)) != 1 {
		t.Error("a session was ended without the permission")
	}
}

func TestSession(t *testing.T) {
	t.Parallel()
	with := newStore(t)
	with.add(t, "anna", 1)
	s := newSystem(t, with)
	got := s.list(&sessionadminv1.ListSessionsRequest{}).GetSessions()[0]
	of := with.left(t)[0]
	if want := "sessions/" + base64.RawURLEncoding.EncodeToString(of.ID[:]); got.GetName() != want {
		t.Errorf("name %q, want %q", got.GetName(), want)
	}
	text := strings.Join([]string{got.GetHandle(), got.GetIssuer(), got.GetSubject(), got.GetProviderSession(), got.GetUserAgent(), got.GetAddress()}, " ")
	if want := "0000000000000000 https://issuer.test anna sid Mozilla/5.0 192.0.2.7"; text != want {
		t.Errorf("got %q, want %q", text, want)
	}
	for what, times := range map[string][2]time.Time{
		"create_time": {got.GetCreateTime().AsTime(), of.CreatedAt}, "last_seen_time": {got.GetLastSeenTime().AsTime(), of.LastSeenAt},
		"idle_expire_time": {got.GetIdleExpireTime().AsTime(), of.IdleExpiresAt}, "expire_time": {got.GetExpireTime().AsTime(), of.ExpiresAt},
	} {
		if !times[0].Equal(times[1]) {
			t.Errorf("%s is %v, want %v", what, times[0], times[1])
		}
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	with := newStore(t)
	with.add(t, "anna", 5)
	with.add(t, "ben", 2)
	s := newSystem(t, with)
	for _, c := range []struct {
		name string
		req  *sessionadminv1.ListSessionsRequest
		want string
	}{
		{"all at once", &sessionadminv1.ListSessionsRequest{}, ",1,2,3,4,5,6"},
		{"all in pages", &sessionadminv1.ListSessionsRequest{PageSize: 3}, ",1,2|3,4,5|6"},
		{"one subject at once", &sessionadminv1.ListSessionsRequest{Subject: "ben"}, "5,6"},
		{"one subject in pages", &sessionadminv1.ListSessionsRequest{Subject: "anna", PageSize: 2}, ",1|2,3|4"},
		{"by issuer", &sessionadminv1.ListSessionsRequest{Subject: "ben", Issuer: issuer}, "5,6"},
		{"of another issuer", &sessionadminv1.ListSessionsRequest{Subject: "ben", Issuer: "https://other.test"}, ""},
		{"of an unknown subject", &sessionadminv1.ListSessionsRequest{Subject: "carl"}, ""},
	} {
		if got := strings.Join(s.pages(c.req), "|"); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestPageAfterEndedSession(t *testing.T) {
	t.Parallel()
	with := newStore(t)
	with.add(t, "anna", 4)
	s := newSystem(t, with)
	first := s.list(&sessionadminv1.ListSessionsRequest{Subject: "anna", PageSize: 2})
	if _, err := s.DeleteSession(s.operator(), &sessionadminv1.DeleteSessionRequest{Name: first.GetSessions()[1].GetName()}); err != nil {
		t.Fatal(err)
	}
	rest := s.pages(&sessionadminv1.ListSessionsRequest{Subject: "anna", PageSize: 2, PageToken: first.GetNextPageToken()})
	if got := strings.Join(rest, "|"); got != "2,3" {
		t.Errorf("the second page is %q, want 2,3", got)
	}
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	with := newStore(t)
	with.add(t, "anna", 3)
	with.add(t, "ben", 3)
	s := newSystem(t, with)
	of := func(subject string) string {
		return s.list(&sessionadminv1.ListSessionsRequest{Subject: subject, PageSize: 1}).GetNextPageToken()
	}
	list := func(req *sessionadminv1.ListSessionsRequest) error {
		_, err := s.ListSessions(s.operator(), req)
		return err
	}
	remove := func(name string) error {
		_, err := s.DeleteSession(s.operator(), &sessionadminv1.DeleteSessionRequest{Name: name})
		return err
	}
	_, noSubject := s.EndSessions(s.operator(), &sessionadminv1.EndSessionsRequest{})
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"a token that is none", list(&sessionadminv1.ListSessionsRequest{PageToken: "%"}), "InvalidArgument page_token"},
		{"a token of nothing", list(&sessionadminv1.ListSessionsRequest{PageToken: "ZQ"}), "InvalidArgument page_token"},
		{"a cursor that the store did not make", list(&sessionadminv1.ListSessionsRequest{PageToken: base64.RawURLEncoding.EncodeToString([]byte("eX"))}), "InvalidArgument page_token"},
		{"token of another subject", list(&sessionadminv1.ListSessionsRequest{Subject: "ben", PageToken: of("anna")}), "InvalidArgument page_token"},
		{"token of a subject for all", list(&sessionadminv1.ListSessionsRequest{PageToken: of("anna")}), "InvalidArgument page_token"},
		{"a negative page", list(&sessionadminv1.ListSessionsRequest{PageSize: -1}), "InvalidArgument page_size"},
		{"an issuer alone", list(&sessionadminv1.ListSessionsRequest{Issuer: issuer}), "InvalidArgument "},
		{"no name", remove(""), "InvalidArgument name"},
		{"a handle for a name", remove("sessions/0000000000000001"), "InvalidArgument name"},
		{"bits that no key has", remove("sessions/" + strings.Repeat("_", 43)), "InvalidArgument name"},
		{"a session that is not there", remove("sessions/" + strings.Repeat("A", 43)), "NotFound SESSION_NOT_FOUND"},
		{"no subject", noSubject, "InvalidArgument subject"},
	} {
		if got := told(c.err); got != c.want {
			t.Errorf("%s: %q (%v), want %q", c.name, got, c.err, c.want)
		}
	}
	if len(with.left(t)) != 6 {
		t.Error("a bad request ended a session")
	}
}

func TestEnding(t *testing.T) {
	t.Parallel()
	with := newStore(t)
	with.add(t, "anna", 3)
	with.add(t, "ben", 1)
	s := newSystem(t, with)
	name := s.list(&sessionadminv1.ListSessionsRequest{Subject: "anna"}).GetSessions()[0].GetName()
	for i, want := range []codes.Code{codes.OK, codes.NotFound} {
		if _, err := s.DeleteSession(s.operator(), &sessionadminv1.DeleteSessionRequest{Name: name}); status.Code(err) != want {
			t.Errorf("ending it, turn %d: %v, want %v", i+1, err, want)
		}
	}
	for _, want := range []int32{2, 0} {
		resp, err := s.EndSessions(s.operator(), &sessionadminv1.EndSessionsRequest{Subject: "anna"})
		if err != nil || resp.GetEnded() != want {
			t.Errorf("ended %d sessions of anna (%v), want %d", resp.GetEnded(), err, want)
		}
	}
	if want := "anna of https://issuer.test until 12:00:00"; !slices.Equal(s.denied, []string{want, want}) {
		t.Errorf("denied are the tokens of %q, want %q twice", s.denied, want)
	}
	if left := with.left(t); len(left) != 1 || left[0].Subject != "ben" {
		t.Errorf("left are %v, want one of ben's", left)
	}
}

func TestOutage(t *testing.T) {
	t.Parallel()
	with := newStore(t)
	with.down = errors.New("dial tcp 10.1.2.3:6379: connection refused")
	s := newSystem(t, with)
	_, err1 := s.ListSessions(s.operator(), &sessionadminv1.ListSessionsRequest{})
	_, err2 := s.ListSessions(s.operator(), &sessionadminv1.ListSessionsRequest{Subject: "anna"})
	_, err3 := s.DeleteSession(s.operator(), &sessionadminv1.DeleteSessionRequest{Name: "sessions/" + strings.Repeat("A", 43)})
	_, err4 := s.EndSessions(s.operator(), &sessionadminv1.EndSessionsRequest{Subject: "anna"})
	for i, err := range []error{err1, err2, err3, err4} {
		retry := false
		for _, detail := range status.Convert(err).Details() {
			if _, ok := detail.(*errdetails.RetryInfo); ok {
				retry = true
			}
		}
		if got := told(err); got != "Unavailable SESSION_STORE_UNAVAILABLE" || !retry || strings.Contains(err.Error(), "10.1.2.3") {
			t.Errorf("call %d: %v, want UNAVAILABLE with RetryInfo, and nothing of the cause", i+1, err)
		}
	}
	if !strings.Contains(s.log.String(), "10.1.2.3:6379") {
		t.Error("the cause is not in the log")
	}
}

// TestNoIssuer checks that a subject without an issuer is refused, and not taken for
// one without sessions.
func TestNoIssuer(t *testing.T) {
	t.Parallel()
	service := sessionadmin.New(sessionadmin.Config{Store: newStore(t)})
	_, ended := service.EndSessions(t.Context(), &sessionadminv1.EndSessionsRequest{Subject: "anna"})
	_, listed := service.ListSessions(t.Context(), &sessionadminv1.ListSessionsRequest{Subject: "anna"})
	for _, err := range []error{ended, listed} {
		if got, want := told(err), "InvalidArgument issuer"; got != want {
			t.Errorf("got %q (%v), want %q", got, err, want)
		}
	}
}

func TestNoStore(t *testing.T) {
	t.Parallel()
	s := newSystem(t, nil)
	_, err1 := s.ListSessions(s.operator(), &sessionadminv1.ListSessionsRequest{})
	_, err2 := s.DeleteSession(s.operator(), &sessionadminv1.DeleteSessionRequest{Name: "sessions/" + strings.Repeat("A", 43)})
	_, err3 := s.EndSessions(s.operator(), &sessionadminv1.EndSessionsRequest{Subject: "anna"})
	for i, err := range []error{err1, err2, err3} {
		if got := told(err); got != "Unimplemented NO_SESSION_STORE" {
			t.Errorf("call %d: %q (%v)", i+1, got, err)
		}
	}
}

// told returns the code of an error, and the reason or the first field in its details.
func told(err error) string {
	st := status.Convert(err)
	for _, detail := range st.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			return st.Code().String() + " " + detail.GetReason()
		case *errdetails.BadRequest:
			return st.Code().String() + " " + detail.GetFieldViolations()[0].GetField()
		}
	}
	return st.Code().String()
}
