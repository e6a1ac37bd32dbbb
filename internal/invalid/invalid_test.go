package invalid_test

import (
	"errors"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

func TestError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want string
	}{
		{invalid.Field("Login.Rate", -1, "is negative", "give a positive number"), `Login.Rate "-1" is negative; give a positive number`},
		{invalid.Missing("BaseURL", "give the origin that browsers see"), `BaseURL is missing; give the origin that browsers see`},
		{&invalid.Error{Field: "Secrets", Problem: "are short"}, `Secrets are short`},
		{invalid.In("BFF", errors.New("boom")), `BFF: boom`},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestInAndAll(t *testing.T) {
	t.Parallel()
	if err := invalid.In("BFF", nil); err != nil {
		t.Errorf("In(nil) = %v, want nil", err)
	}
	other := errors.New("other")
	err := invalid.In("BFF", errors.Join(
		invalid.In("Login", errors.Join(invalid.Missing("Scope", "add openid"), other)),
		invalid.Missing("BaseURL", "give one")))
	fields, others := invalid.All(err)
	if len(fields) != 2 || fields[0].Field != "BFF.Login.Scope" || fields[1].Field != "BFF.BaseURL" {
		t.Errorf("fields = %v, want BFF.Login.Scope and BFF.BaseURL", fields)
	}
	if len(others) != 1 || !errors.Is(others[0], other) {
		t.Errorf("others = %v, want the other error alone", others)
	}
}

func TestNotNegative(t *testing.T) {
	t.Parallel()
	if err := invalid.NotNegative("Size", 0, "a number", 5); err != nil {
		t.Errorf("0: %v", err)
	}
	want := `Wait "-1s" is negative; give a duration, or 0 for 5s`
	if err := invalid.NotNegative("Wait", -time.Second, "a duration", 5*time.Second); err == nil || err.Error() != want {
		t.Errorf("-1s: %v, want %s", err, want)
	}
}
