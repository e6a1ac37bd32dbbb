// Package testrun owns what package gatehousetest changes in a run of the program, and what the
// run tells it. Both are in the context of gatehouse.Run, so that a test runs the same code as the
// command dev, and the public API of package gatehouse does not grow for tests (package net and
// httptrace share internal/nettrace in this way). It leaves the tests to package gatehousetest.
package testrun

import (
	"context"
	"crypto/rsa"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/stores"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// Hooks change a run of the command dev. Such a run reads no .env file, and changes nothing that
// belongs to the process, such as signals and the log of gRPC.
type Hooks struct {
	// Now is the clock of all parts and of the provider.
	Now func() time.Time
	// Sessions is the session store, unless the setting session-store is given. The run closes it.
	Sessions stores.Sessions
	// NewKey makes the signing keys of the provider.
	NewKey func() (*rsa.PrivateKey, error)
	// Serving is called once, when all ports are open and before the first request is served.
	Serving func(System)
}

// A System is a program that runs.
type System struct {
	// BaseURL is that of the bff, GatewayURL and Issuer those of gateway and provider, without a
	// slash at the end. GRPCAddress is the server's HOST:PORT.
	BaseURL, GatewayURL, GRPCAddress, Issuer string
	// Provider is the development provider.
	Provider *devidp.Provider
	// Authn verifies tokens as the server does; Rules are the policies of its methods.
	Authn authn.Config
	Rules []authn.Rule
	// Sessions is the session store.
	Sessions stores.Sessions
}

type key struct{}

// NewContext returns a context for a run with these hooks.
func NewContext(ctx context.Context, h *Hooks) context.Context {
	return context.WithValue(ctx, key{}, h)
}

// FromContext returns the hooks of a run, nil if it has none.
func FromContext(ctx context.Context) *Hooks {
	h, _ := ctx.Value(key{}).(*Hooks)
	return h
}
