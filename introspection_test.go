package gatehouse

import (
	"strings"
	"testing"
)

func TestIntrospectionSettings(t *testing.T) {
	t.Parallel()
	const id, secret = "GATEHOUSE_INTROSPECTION_CLIENT_ID=api", "GATEHOUSE_INTROSPECTION_CLIENT_SECRET=secret of the api"
	for name, c := range map[string]struct {
		environ []string
		want    []string // in the error; none for a valid configuration
	}{
		"off":            {nil, nil},
		"off by name":    {[]string{"GATEHOUSE_INTROSPECTION=off"}, nil},
		"on":             {[]string{"GATEHOUSE_INTROSPECTION=on", id, secret}, nil},
		"an endpoint":    {[]string{"GATEHOUSE_INTROSPECTION=https://id.example/introspect", id, secret, "GATEHOUSE_INTROSPECTION_RATE=5"}, nil},
		"yes":            {[]string{"GATEHOUSE_INTROSPECTION=yes", id, secret}, []string{"GATEHOUSE_INTROSPECTION=yes (environment): is neither on, off nor a URL; give on"}},
		"http":           {[]string{"GATEHOUSE_INTROSPECTION=http://id.example/introspect", id, secret}, []string{"GATEHOUSE_INTROSPECTION=http://id.example/introspect (environment)", "use https"}},
		"no client":      {[]string{"GATEHOUSE_INTROSPECTION=on"}, []string{"GATEHOUSE_INTROSPECTION_CLIENT_ID: is missing", "GATEHOUSE_INTROSPECTION_CLIENT_SECRET: is missing", "or GATEHOUSE_INTROSPECTION_CLIENT_KEY"}},
		"a wrong method": {[]string{"GATEHOUSE_INTROSPECTION=on", id, secret, "GATEHOUSE_INTROSPECTION_CLIENT_AUTH=private_key_jwt"}, []string{"GATEHOUSE_INTROSPECTION_CLIENT_AUTH=private_key_jwt (environment)", "needs a client key"}},
		"negative":       {[]string{"GATEHOUSE_INTROSPECTION=on", id, secret, "GATEHOUSE_INTROSPECTION_RATE=-1"}, []string{"GATEHOUSE_INTROSPECTION_RATE=-1 (environment)"}},
		"a client alone": {[]string{id, secret}, []string{"GATEHOUSE_INTROSPECTION: is off", "set it to on"}},
	} {
		err := validated(t, partSet{Server: true}, serverEnvironment(c.environ...)...)
		if (err != nil) != (c.want != nil) {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range c.want {
			if err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
		if err != nil && strings.Contains(err.Error(), "secret of the api") {
			t.Errorf("%s: the secret is shown: %v", name, err)
		}
	}
	p := configured(t, serverEnvironment("GATEHOUSE_INTROSPECTION=on", id, secret)...)
	if own := p.cfg.Server.Authn.Introspection; own == nil || own.Endpoint != "" || own.Client.ID != "api" || !p.cfg.BFF.Login.OpaqueTokens {
		t.Errorf("on: %+v", own)
	}
	if p := configured(t, serverEnvironment()...); p.cfg.Server.Authn.Introspection != nil || p.cfg.BFF.Login.OpaqueTokens {
		t.Error("introspection is on without its setting")
	}
	if got := p.settingName("Introspection.Endpoint"); got != "GATEHOUSE_INTROSPECTION" {
		t.Errorf("the setting is called %s", got)
	}
}
