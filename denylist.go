package gatehouse

import (
	"context"
	"strings"

	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist/redis"
)

// A denier is what the server asks and the bff tells: which access tokens
// must not be good any more.
type denier interface {
	denylist.Denylist
	Run(ctx context.Context) error
	Ready() error
	Close()
}

// openDenylist opens what GATEHOUSE_DENYLIST names, which the validation has
// found to be one of these; nil for none.
func openDenylist(ctx context.Context, cfg config) (denier, error) {
	switch {
	case cfg.Denylist == "":
		return nil, nil
	case cfg.Denylist == "memory:":
		list, err := denylist.New(denylist.Config{})
		return local{list}, err
	}
	list, err := redis.Open(ctx, redis.Config{URL: cfg.Denylist, Logger: cfg.Logger.With("part", "denylist")})
	if err != nil {
		return nil, settingError("GATEHOUSE_DENYLIST", cfg.Denylist, err.Error(), "start it, or correct the address")
	}
	return list, nil
}

// denylistProblem says what is wrong with a GATEHOUSE_DENYLIST.
func denylistProblem(value string, parts partSet) (problem, remedy string) {
	switch {
	case value == "" || strings.HasPrefix(value, "redis://") || strings.HasPrefix(value, "rediss://"):
		return "", ""
	case value != "memory:":
		return "no such denylist", "give memory: or redis://HOST:PORT"
	case !(parts.BFF && parts.Server):
		return "memory: is of one process alone, and bff and server run apart", "give redis://HOST:PORT to both"
	}
	return "", ""
}

// local is a denylist of this process.
type local struct{ *denylist.List }

func (l local) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (l local) Ready() error { return nil }

func (l local) Close() {}
