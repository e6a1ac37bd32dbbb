package gatehouse

import (
	"crypto/rsa"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/testrun"
)

// use makes the program run as package gatehousetest wants it; nil changes nothing.
func (p *program) use(h *testrun.Hooks) {
	if h == nil {
		return
	}
	p.hooks, p.now = h, h.Now
	p.cfg.Provider.Now, p.cfg.Server.Authn.Now, p.cfg.BFF.Now = h.Now, h.Now, h.Now
}

// dotenv returns the path of the file with variables; "" for none.
func (p *program) dotenv() string {
	if p.hooks != nil {
		return ""
	}
	return ".env"
}

// newKey returns what makes the signing keys of the development provider; nil for its default.
func (p *program) newKey() func() (*rsa.PrivateKey, error) {
	if p.hooks != nil {
		return p.hooks.NewKey
	}
	return nil
}

// tell tells package gatehousetest what runs.
func (p *parts) tell(ports *ports, provider *devidp.Provider) {
	if p.hooks == nil {
		return
	}
	sys := testrun.System{
		BaseURL: p.cfg.BFF.BaseURL, GatewayURL: "http://" + ports.gateway.Listener.Addr().String(), Issuer: p.cfg.Provider.Issuer,
		Provider: provider, Sessions: p.store,
	}
	if p.server != nil {
		sys.GRPCAddress = ports.grpc.Listener.Addr().String()
		sys.Rules, sys.Authn = p.server.Rules(), p.cfg.Server.Authn
		sys.Authn.Provider, sys.Authn.Issuers = p.provider, p.issuers
	}
	p.hooks.Serving(sys)
}
