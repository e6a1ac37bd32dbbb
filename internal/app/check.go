package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// checkTimeout bounds everything that a check asks of others.
const checkTimeout = 15 * time.Second

// ErrCheck says that a check found something wrong and has told what.
var ErrCheck = errors.New("the configuration does not work")

// Check validates the configuration of gatehouse serve, contacts the
// provider, and writes to cfg.Output what is right, what is wrong and how to
// mend it, and who may call what. It opens no port and changes nothing: a
// session store that is elsewhere is asked whether it answers.
func Check(ctx context.Context, cfg Config) error {
	cfg.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	failed := false
	tell := func(err error) {
		failed = true
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintln(cfg.Output, "WRONG", strings.TrimSpace(line))
		}
	}
	if err := cfg.Validate(All); err != nil {
		tell(err)
		return ErrCheck // the rest would only say the same in other words
	}
	fmt.Fprintln(cfg.Output, "ok    every setting is there and makes sense")

	if elsewhere, err := probeStore(ctx, cfg); err != nil {
		tell(err)
	} else if elsewhere {
		fmt.Fprintln(cfg.Output, "ok    the session store answers")
	}
	cfg.SessionStore, cfg.DatabaseURL = "memory:", "memory:"
	p, err := assemble(ctx, cfg, All, false)
	if err != nil {
		tell(err)
		return ErrCheck
	}
	defer p.close(nil)
	if md, err := p.provider.Discover(ctx); err != nil {
		if mismatch, ok := errors.AsType[*token.IssuerMismatchError](err); !ok { // which says itself what to do
			err = fmt.Errorf("%w; correct the issuer, or let this machine reach the provider, at GATEHOUSE_OIDC_INTERNAL_URL if not at its issuer", err)
		} else if internal := mismatch.InternalURL(); internal != "" {
			err = fmt.Errorf("%w (GATEHOUSE_OIDC_INTERNAL_URL=%s)", err, internal)
		}
		tell(fmt.Errorf("GATEHOUSE_OIDC_ISSUER=%s: %w", cfg.Issuer, err))
	} else {
		fmt.Fprintf(cfg.Output, "ok    the provider answers, and calls itself %s\n", md.Issuer)
		good, err := p.bff.Check(ctx)
		for _, line := range good {
			fmt.Fprintln(cfg.Output, "ok   ", line)
		}
		if err != nil {
			tell(err)
		}
	}
	for _, finding := range cfg.blurred() {
		fmt.Fprintln(cfg.Output, "warn ", finding)
	}
	p.tellPolicies(cfg)
	if failed {
		return ErrCheck
	}
	return nil
}

// tellPolicies prints who may call what.
func (p *parts) tellPolicies(cfg Config) {
	routes := map[string][]string{}
	for _, route := range p.gateway.Routes() {
		routes[route.RPC] = append(routes[route.RPC], route.Method+" "+route.Pattern)
	}
	fmt.Fprintln(cfg.Output)
	table := tabwriter.NewWriter(cfg.Output, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "METHOD\tREST\tWHO MAY CALL")
	for _, rule := range p.server.Rules() {
		rest := strings.Join(routes[rule.Method], ", ")
		if rest == "" {
			rest = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", rule.Method, rest, rule.String())
	}
	_ = table.Flush() // to the same output as all before
}
