package authn_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// Calls succeed with tokens of an allowed algorithm. Other tokens of the provider are
// refused, and readiness and log name the setting and its value.
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	for _, alg := range tokentest.Algorithms {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			issuer := tokentest.NewUnservedOf(t, "https://issuer.example", alg)
			table, methods := newTable(t, nil)
			v := newVerifier(t, issuer, authn.Config{Algorithms: []string{alg}})
			if err := v.Ready(); err != nil {
				t.Error(err)
			}
			if _, called, err := call(incoming(t.Context(), "Bearer "+mint(issuer, nil)), authn.NewInterceptor(v, table), methods[0]); err != nil || !called {
				t.Errorf("called %t, %v", called, err)
			}

			var log bytes.Buffer
			other := "ES256"
			if alg == other {
				other = "EdDSA"
			}
			v = newVerifier(t, issuer, authn.Config{
				Algorithms: []string{other}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
				SettingName: func(field string) string { return "SETTING_" + field },
			})
			for range 2 {
				_, called, err := call(incoming(t.Context(), "Bearer "+mint(issuer, nil)), authn.NewInterceptor(v, table), methods[0])
				wantRefusal(t, err, codes.Unauthenticated, authn.ReasonTokenInvalid)
				if called {
					t.Error("the handler ran")
				}
				if err := v.Ready(); err == nil || !strings.Contains(err.Error(), alg) {
					t.Errorf("ready: %v", err)
				}
			}
			for _, line := range []string{
				"the provider signs with an algorithm that is not allowed", `setting=SETTING_Algorithms remedy="set SETTING_Algorithms=` + other + "," + alg, `msg="not ready"`,
			} {
				if n := strings.Count(log.String(), line); n != 1 {
					t.Errorf("%d lines with %q, want one: %s", n, line, &log)
				}
			}
		})
	}
}

// A wrong algorithm is an error of the configuration.
func TestAlgorithmNames(t *testing.T) {
	t.Parallel()
	cfg := authn.Config{Audience: "https://api.example", Algorithms: []string{"HS256"}}
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), `Algorithms "HS256" is no signature algorithm that is supported; give one or more of RS256, PS256, ES256, EdDSA`) {
		t.Error(err)
	}
}
