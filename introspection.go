package gatehouse

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/admin"
	"github.com/gatehouse-dev/gatehouse/internal/check"
	"github.com/gatehouse-dev/gatehouse/internal/clientauth"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/internal/token/introspect"
)

// The values of the setting introspection that are no URL.
const (
	introspectionOff = "off"
	introspectionOn  = "on"
)

// adjustIntrospection gives the parts what the text of the setting introspection means.
func (p *program) adjustIntrospection() {
	cfg := &p.cfg
	switch cfg.Introspection {
	case "", introspectionOff:
		cfg.Server.Authn.Introspection = nil
		return
	case introspectionOn:
		cfg.Server.Authn.Introspection.Endpoint = ""
	}
	cfg.BFF.Login.OpaqueTokens = true
}

// checkIntrospection returns an error about the setting introspection that the server's
// configuration cannot have.
func (p *program) checkIntrospection() error {
	own := p.introspection.Client
	switch value := p.cfg.Introspection; {
	case value == "" || value == introspectionOff:
		if own.ID+own.Secret+own.Key+own.Auth != "" {
			return invalid.Field("Introspection", introspectionOff, "is off, so that the client for introspection is of no use",
				"set it to on, or to the URL of the endpoint, or remove the client")
		}
	case value != introspectionOn && !strings.Contains(value, "://"):
		return invalid.Field("Introspection", value, "is neither on, off nor a URL", "give on for the endpoint in the provider's metadata, or its URL")
	}
	return nil
}

// introspectionName returns the name of the setting for a field of IntrospectionConfig.
func (p *program) introspectionName(field string) string {
	return p.values.Variable("Server.Authn.Introspection." + field)
}

// introspectionEndpoint returns the endpoint as the server has it, nil for none.
func (p *parts) introspectionEndpoint() *introspect.Endpoint {
	own := p.cfg.Server.Authn.Introspection
	if own == nil {
		return nil
	}
	now := p.now
	if now == nil {
		now = time.Now
	}
	endpoint, err := introspect.NewEndpoint(introspect.EndpointConfig{
		Provider: p.provider, URL: own.Endpoint, HTTPClient: p.security.Provider,
		Client:  clientauth.Config{ID: own.Client.ID, Secret: own.Client.Secret, Key: own.Client.Key, Auth: clientauth.Method(own.Client.Auth)},
		Setting: p.introspectionName, Now: now, Rand: rand.Reader, Logger: p.logger,
	})
	if err != nil {
		return nil // the validation has found it
	}
	return endpoint
}

// checkIntrospection checks the introspection endpoint.
func (p *parts) checkIntrospection(ctx context.Context) []check.Result {
	if endpoint := p.introspectionEndpoint(); endpoint != nil {
		return []check.Result{endpoint.Check(ctx)}
	}
	return nil
}

// opaqueVerifier verifies opaque access tokens as the server does, nil if it does not.
func (p *parts) opaqueVerifier() func(context.Context, string) error {
	endpoint := p.introspectionEndpoint()
	if endpoint == nil {
		return nil
	}
	auth := p.cfg.Server.Authn
	v := introspect.NewVerifier(introspect.Config[struct{}]{
		Endpoint:  endpoint,
		Profile:   token.IntrospectionProfile{Audience: auth.Audience, InsecureIDTokenShape: auth.Profile.InsecureIDTokenShape},
		Principal: func(*token.Claims) (struct{}, error) { return struct{}{}, nil },
		Now:       time.Now, Logger: p.logger,
	})
	return func(ctx context.Context, raw string) error {
		_, err := v.Verify(ctx, raw)
		return err
	}
}

// addIntrospection adds the introspection endpoint to what the process depends on. Without
// it JWTs are accepted as ever, so that it is no reason to get no calls.
func (p *parts) addIntrospection() {
	if p.cfg.Server.Authn.Introspection == nil {
		return
	}
	p.readiness.Add("token introspection", func(context.Context) error {
		if err := p.server.IntrospectionReady(); err != nil {
			return &admin.Warning{Err: err}
		}
		return nil
	})
}

// useIntrospectionSecret replaces a secret of the client for introspection. It reports
// false for another secret.
func (p *parts) useIntrospectionSecret(name, value string) (bool, error) {
	if p.server == nil || p.cfg.Server.Authn.Introspection == nil {
		return false, nil
	}
	client := &p.introspection.Client
	changed := *client
	switch name {
	case "introspection-client-secret":
		changed.Secret = value
	case "introspection-client-key":
		changed.Key = value
	default:
		return false, nil
	}
	if err := p.server.SetIntrospectionCredential(changed.Secret, changed.Key); err != nil {
		return false, err
	}
	*client = changed
	return true, nil
}
