// Package upstream owns the connections to servers behind the bff: their limits, and which
// of several servers a request goes to. It leaves what is sent and answered to
// bff/internal/forward, and the state of addresses to internal/peers.
package upstream
