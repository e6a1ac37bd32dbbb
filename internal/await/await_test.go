package await_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/await"
	"github.com/gatehouse-dev/gatehouse/internal/cause"
)

// An error that does not pass ends the wait with it, at the first attempt and later.
// So does the end of the process.
func TestEnds(t *testing.T) {
	t.Parallel()
	wrong := errors.New("wrong password")
	for name, c := range map[string]struct {
		errs []error // of the attempts
		want error   // of await or run
	}{
		"at first":   {[]error{wrong}, wrong},
		"later":      {[]error{cause.ErrUnavailable, cause.ErrUnavailable, wrong}, wrong},
		"never open": {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				attempt := 0
				a, err := await.Open(t.Context(), nil, func(ctx context.Context) (int, error) {
					if attempt++; attempt <= len(c.errs) {
						return 0, c.errs[attempt-1]
					}
					<-ctx.Done() // it does not answer
					return 0, ctx.Err()
				})
				if err == nil {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					err = a.Run(ctx)
					if _, ok := a.Stop(); ok {
						t.Error("there is a value")
					}
				}
				if !errors.Is(err, c.want) || err != nil && c.want == nil {
					t.Errorf("got %v, want %v", err, c.want)
				}
			})
		})
	}
}
