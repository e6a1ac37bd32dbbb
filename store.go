package gatehouse

import (
	"context"
	"fmt"

	"github.com/gatehouse-dev/gatehouse/internal/outage"
	"github.com/gatehouse-dev/gatehouse/internal/stores"
	"github.com/gatehouse-dev/gatehouse/lifecycle"
)

// sharesSessions reports whether several processes can open the session store, so
// that a server by itself can look after sessions too.
func (p *program) sharesSessions() bool { return stores.Shared(p.cfg.SessionStore) }

// storeConfig is the configuration of the session store.
func (p *program) storeConfig() stores.Config {
	return stores.Config{
		Address: stores.WithAuthorities(p.cfg.SessionStore, p.cfg.TLS.StoreCAFile), Now: p.now, Logger: p.logger.With("part", "sessions"),
		Explain: func(err error) error { return p.about("session-store", err) },
	}
}

// denylistConfig is the configuration of a denylist that is not in memory.
func (p *program) denylistConfig() stores.Config {
	return stores.Config{
		Address: stores.WithAuthorities(p.cfg.Denylist, p.cfg.TLS.DenylistCAFile), Logger: p.logger.With("part", "denylist"),
		Explain: func(err error) error { return p.about("denylist", err) },
	}
}

// addStore opens the session store.
func (p *parts) addStore(ctx context.Context, run partSet) error {
	if p.hooks != nil && p.cfg.SessionStore == stores.Memory {
		p.store = p.hooks.Sessions
		return nil
	}
	cfg := p.storeConfig()
	if !run.BFF { // which logs each outage of its store
		cfg.Monitor = outage.New(outage.Config{Name: "session store", Logger: cfg.Logger})
	}
	store, wait, err := stores.OpenSessions(ctx, cfg)
	if wait != nil {
		p.upkeep = append(p.upkeep, &lifecycle.Part{Name: "session store", Run: wait})
	}
	p.store = store
	return err
}

// about returns err with the setting that it is about before it, and nil for nil.
func (p *program) about(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", p.values.Name(name), err)
}
