package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/audit"
)

// An auditFile is the audit log of a process.
type auditFile struct{ path string }

func newAuditFile(t *testing.T) auditFile {
	t.Helper()
	return auditFile{filepath.Join(t.TempDir(), "audit.jsonl")}
}

// flag is the setting.
func (f auditFile) flag() string { return "--audit-log=" + f.path }

// text returns everything that was recorded.
func (f auditFile) text(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(f.path)
	if err != nil {
		t.Error(err)
	}
	return string(content)
}

// outlet is for installation.outlets. It fails the test if nothing was recorded.
func (f auditFile) outlet(t *testing.T) func() string {
	return func() string {
		text := f.text(t)
		if !strings.Contains(text, string(audit.SignIn)) {
			t.Error("the audit log has no sign-in")
		}
		return text
	}
}

// events returns what was recorded.
func (f auditFile) events(t *testing.T) (events []audit.Event) {
	t.Helper()
	for lines := bufio.NewScanner(strings.NewReader(f.text(t))); lines.Scan(); {
		var e audit.Event
		decoder := json.NewDecoder(strings.NewReader(lines.Text()))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&e); err != nil {
			t.Fatalf("audit log: %v: %s", err, lines.Text())
		}
		events = append(events, e)
	}
	return events
}

// has waits for an event: its action and cause, and what else is wanted of it.
func (f auditFile) has(t *testing.T, action audit.Action, cause audit.Cause, wants ...func(audit.Event) bool) {
	t.Helper()
	eventually(t, fmt.Sprintf("an event %s %s", action, cause), func() error {
	event:
		for _, e := range f.events(t) {
			if e.Action != action || e.Cause != cause {
				continue
			}
			for _, want := range wants {
				if !want(e) {
					continue event
				}
			}
			return nil
		}
		return fmt.Errorf("in\n%s", f.text(t))
	})
}

// about says that an event is about a subject and came from a browser of this test.
func about(subject string) func(audit.Event) bool {
	return func(e audit.Event) bool {
		return e.Subject == subject && e.Client == "127.0.0.1" && e.RequestID != "" && e.Issuer != ""
	}
}

// ofSession says that an event has the handle of a session.
func ofSession(e audit.Event) bool { return len(e.Session) == 16 }

// TestAuditLog drives one process through what an audit log records, and holds the events.
func TestAuditLog(t *testing.T) {
	t.Parallel()
	address, admin, file := freeAddress(t), freeAddress(t), newAuditFile(t)
	base, opAddress := "http://"+address, freeAddress(t)
	api := freeAddress(t)
	op := startProvider(t, opAddress, base, firstTTL)
	secrets := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(secrets, []byte(tutorialSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"GATEHOUSE_SECRET_FILE=" + secrets}
	for _, variable := range op.environment(base) {
		if !strings.HasPrefix(variable, "AUTH0_SECRET=") {
			env = append(env, variable)
		}
	}
	p := gatehouse(t, env, "serve", "--listen-bff="+address, "--listen-gateway="+api, "--listen-grpc="+freeAddress(t),
		"--listen-admin="+admin, "--admin-debug", "--session-store=memory:", "--database-url=memory:", file.flag())
	p.ready(t, base+"/readyz")
	in := installation{base: base, op: op, processes: []*process{p}, outlets: map[string]func() string{"audit log": file.outlet(t)}}
	file.has(t, audit.KeySetChanged, audit.FirstKeys, func(e audit.Event) bool { return len(e.Keys) == 1 && e.Part == "provider" })

	alice, elsewhere := newVisitor(t), newVisitor(t)
	signsIn(t, in, alice, "alice")
	file.has(t, audit.SignIn, "", about("alice"), ofSession)
	file.has(t, audit.CallDenied, audit.TokenMissing, func(e audit.Event) bool { return e.Client == "127.0.0.1" && e.Method != "" })
	newVisitor(t).send(t, http.MethodGet, "http://"+api+"/api/private-route", http.Header{"Authorization": {"Bearer nonsense"}}, nil).wants(t, http.StatusUnauthorized, "application/json")
	file.has(t, audit.CallDenied, audit.TokenInvalid, func(e audit.Event) bool { return e.Client == "127.0.0.1" && e.Method != "" })
	alice.fetch(t, "/api/admin/sessions").wants(t, http.StatusForbidden, "application/json")
	file.has(t, audit.CallDenied, audit.PermissionMissing, about("alice"), ofSession, func(e audit.Event) bool {
		return e.Method == "/gatehouse.sessionadmin.v1.SessionAdminService/ListSessions" && e.ClientID == opClientID
	})
	signsOut(t, in, alice)
	file.has(t, audit.SignOut, audit.User, about("alice"), ofSession)
	endedByProvider(t, in, alice, elsewhere)
	file.has(t, audit.SignOut, audit.BackChannel, ofSession)
	alice.open(t, base+"/api/auth/callback?state=forged&code=forged")
	file.has(t, audit.SignInRefused, audit.Stale)

	changed, err := http.Post("http://"+admin+"/debug/log-level?level=warn", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = changed.Body.Close()
	file.has(t, audit.SettingChanged, audit.AdminPort, func(e audit.Event) bool {
		return e.Setting == "log-level" && e.Value == "warn" && e.Client == "127.0.0.1"
	})
	const another = "91d0c7a35b8e42f6071c9d3be5a8264f90b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5"
	if err := os.WriteFile(secrets, []byte(another+"\n"+tutorialSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Process.Signal(syscall.SIGHUP)
	file.has(t, audit.SettingChanged, audit.FileChanged, func(e audit.Event) bool { return e.Setting == "GATEHOUSE_SECRET" && e.Value == "" })

	// Another provider at the same address knows no refresh token and has other keys.
	bob := newVisitor(t)
	signsIn(t, in, bob, "bob")
	nothingPrinted(t, in, alice, elsewhere, bob) // while the provider knows what it has issued
	op.process.stop(t)
	in.op = startProvider(t, opAddress, base, time.Minute)
	eventually(t, "the session has ended", func() error {
		if got := bob.fetch(t, "/api/private-route"); got.status != http.StatusUnauthorized {
			return httpError(got)
		}
		return nil
	})
	file.has(t, audit.RefreshRefused, audit.GrantEnded, about("bob"), ofSession)
	file.has(t, audit.SessionEnded, audit.NotRefreshed, about("bob"), ofSession)
	signsIn(t, in, newVisitor(t), "carol")
	file.has(t, audit.KeySetChanged, audit.Rotated)

	for range 130 {
		if bob.open(t, base+"/api/auth/login").status == http.StatusTooManyRequests {
			break
		}
	}
	file.has(t, audit.RateLimited, "", func(e audit.Event) bool { return e.Setting == "login_rate" && e.Client == "127.0.0.1" })
	for _, e := range file.events(t) {
		if e.Time.IsZero() || time.Since(e.Time) > time.Hour || e.Part == "" {
			t.Errorf("event without time or part: %+v", e)
		}
	}
}

// TestAuditedOperator holds what an operator, and a user at another device, do to sessions.
func TestAuditedOperator(t *testing.T) {
	t.Parallel()
	file := newAuditFile(t)
	s := startDev(t, file.flag())
	operator, laptop, phone := entersAs(t, s.base, "admin"), entersAs(t, s.base, "buyer"), entersAs(t, s.base, "buyer")
	same := func() http.Header {
		return http.Header{"Content-Type": {"application/json"}, "Sec-Fetch-Site": {"same-origin"}, "Origin": {s.base}}
	}
	laptop.send(t, http.MethodDelete, s.base+"/api/auth/sessions", same(), nil).wants(t, http.StatusOK, "application/json")
	file.has(t, audit.SignOut, audit.Everywhere, about("dev|buyer"), ofSession)
	file.has(t, audit.SubjectRevoked, audit.Everywhere, about("dev|buyer"), func(e audit.Event) bool { return e.Count == 1 })
	phone.fetch(t, "/api/auth/me").wants(t, http.StatusNoContent, "")
	operator.send(t, http.MethodPost, s.base+"/api/admin/sessions:end", same(), strings.NewReader(`{"subject":"dev|buyer"}`)).
		wants(t, http.StatusOK, "application/json")
	byAdmin := func(e audit.Event) bool {
		return e.BySubject == "dev|admin" && e.ByIssuer == e.Issuer && e.Part == "server"
	}
	file.has(t, audit.SessionEnded, audit.Operator, about("dev|buyer"), ofSession, byAdmin)
	file.has(t, audit.SubjectRevoked, audit.Operator, about("dev|buyer"), byAdmin)
}
