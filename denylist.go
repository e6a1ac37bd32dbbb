package gatehouse

import (
	"context"
	"errors"

	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist/redis"
)

// A denier is a denylist of this program.
type denier interface {
	denylist.Denylist
	Run(ctx context.Context) error
	Ready() error
	Close()
}

// openDenylist opens the denylist, whose form is valid; nil for none.
func (p *program) openDenylist(ctx context.Context) (denier, error) {
	switch p.cfg.Denylist {
	case "":
		return nil, nil
	case inMemory:
		list, err := denylist.New(denylist.Config{})
		return local{list}, err
	}
	list, err := redis.Open(ctx, redis.Config{URL: p.cfg.Denylist, Logger: p.logger.With("part", "denylist")})
	if err != nil {
		return nil, p.about("denylist", errors.New(err.Error()+"; start it, or correct the address"))
	}
	return list, nil
}

// local is a denylist of this process.
type local struct{ *denylist.List }

// Run does nothing: the list needs no upkeep.
func (l local) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (l local) Ready() error { return nil }

func (l local) Close() {}
