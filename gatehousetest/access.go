package gatehousetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
	"github.com/gatehouse-dev/gatehouse/internal/reason"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// Access returns a table of all methods of the API, their policies, and whether callers may call
// them: users who have just signed in, by their keys, and machines, by their ids. None means all
// users, and all machines of the class machines. The cells are:
//
//	yes      the policy admits the call
//	no       the caller lacks a scope or permission, or is of a class that is not admitted
//	sign in  a token is required
//	step up  a stronger or newer sign-in is required
//
// The server's own interceptor decides, by tokens of the users. No method is called, so what a
// service and the interceptors of the application refuse is not in the table. Health checks and
// reflection are left out.
func (s *System) Access(t testing.TB, callers ...string) string {
	t.Helper()
	machines := s.run.Provider.Machines()
	if len(callers) == 0 {
		for _, u := range s.run.Provider.Users() {
			callers = append(callers, u.Key)
		}
		for _, m := range machines {
			if m.Class == directory.ClassMachines {
				callers = append(callers, m.ID)
			}
		}
	}
	tokens := []string{""}
	for _, caller := range callers {
		if slices.ContainsFunc(machines, func(m directory.Machine) bool { return m.ID == caller }) {
			tokens = append(tokens, s.MachineToken(t, caller))
		} else {
			tokens = append(tokens, s.Token(t, caller))
		}
	}
	cfg := s.run.Authn
	cfg.Logger, cfg.Audit, cfg.MeterProvider = nil, nil, nil
	verifier, err := authn.NewVerifier(cfg)
	if err != nil {
		t.Fatalf("gatehousetest: access: %v", err)
	}
	decides := authn.NewInterceptor(verifier, authn.NewTable(s.app.Policies))
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "method\tpolicy\tno token\t%s\n", strings.Join(callers, "\t"))
	for _, rule := range s.run.Rules {
		if strings.HasPrefix(rule.Method, "/grpc.") {
			continue
		}
		row := []string{strings.TrimPrefix(rule.Method, "/"), rule.String()}
		for _, token := range tokens {
			row = append(row, decision(t.Context(), decides, rule.Method, token))
		}
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// decision returns whether a method may be called with a token.
func decision(ctx context.Context, decides *authn.Interceptor, method, token string) string {
	if token != "" {
		ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", "Bearer "+token))
	}
	_, err := decides.Unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, func(context.Context, any) (any, error) { return nil, nil })
	switch refusal := status.Convert(err); {
	case err == nil:
		return "yes"
	case refusal.Code() == codes.PermissionDenied:
		return "no"
	case needsStepUp(refusal):
		return "step up"
	case refusal.Code() == codes.Unauthenticated:
		return "sign in"
	default:
		return refusal.Code().String()
	}
}

// needsStepUp reports whether a refusal asks for another sign-in (RFC 9470).
func needsStepUp(refusal *status.Status) bool {
	for _, detail := range refusal.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetReason() == reason.StepUpRequired {
			return true
		}
	}
	return false
}

// CheckAccess compares the table of [System.Access] with a file, such as testdata/access.txt, which
// belongs in the repository: the review of a change then shows who may call what. If there is no
// file, it is written, and the test fails. To accept a change, delete the file and run the test
// again.
func (s *System) CheckAccess(t testing.TB, file string, callers ...string) {
	t.Helper()
	got := s.Access(t, callers...)
	want, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Errorf("gatehousetest: %s did not exist and has been written; review it and run the test again:\n%s", file, got)
	case err != nil:
		t.Fatal(err)
	case got != strings.ReplaceAll(string(want), "\r\n", "\n"):
		t.Errorf("gatehousetest: the access to the API differs from %s; if this is intended, delete the file and run the test again\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}
