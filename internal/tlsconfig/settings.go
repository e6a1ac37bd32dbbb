package tlsconfig

import (
	"github.com/gatehouse-dev/gatehouse/internal/settings"
)

// Settings returns the rows of the group TLS, whose targets are the fields of cfg.
func (cfg *Config) Settings() settings.Table {
	return settings.Table{
		{Name: "tls-cert-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.CertFile},
			Help: "A certificate in PEM, with its chain, for every listener without one of its own. Files of " +
				"this group are read again when they change (docs/tls.md). Default: no TLS."},
		{Name: "tls-key-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.KeyFile},
			Help:    "The key of tls-cert-file, in PEM and not encrypted."},
		{Name: "tls-min-version", Group: "TLS", Placeholder: "VERSION", Choices: []string{"1.2", "1.3"}, Default: "1.2",
			Targets: []any{&cfg.MinVersion},
			Help:    "The oldest version of TLS, of listeners and of calls to provider, gateway, server and front end: 1.2 or 1.3."},
		{Name: "bff-tls-cert-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.BFF.CertFile},
			Help:    "The certificate of the bff, or none for no TLS. Default: tls-cert-file."},
		{Name: "bff-tls-key-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.BFF.KeyFile},
			Help:    "The key of bff-tls-cert-file."},
		{Name: "gateway-tls-cert-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.Gateway.CertFile},
			Help:    "The certificate of the gateway, or none for no TLS. Default: tls-cert-file."},
		{Name: "gateway-tls-key-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.Gateway.KeyFile},
			Help:    "The key of gateway-tls-cert-file."},
		{Name: "gateway-client-ca-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.Gateway.ClientCAFile},
			Help: "The authorities, in PEM, of client certificates, which every client of the gateway then " +
				"needs (mTLS), health checks included. Default: no client certificates."},
		{Name: "gateway-client-names", Group: "TLS", Placeholder: "NAME",
			Targets: []any{&cfg.Gateway.ClientNames},
			Help: "The names of which a client certificate at the gateway must have one, as a DNS name or URI, " +
				"separated by commas. Default: every certificate of the authorities is accepted."},
		{Name: "grpc-tls-cert-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.GRPC.CertFile},
			Help:    "The certificate of the server, or none for no TLS. Default: tls-cert-file."},
		{Name: "grpc-tls-key-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.GRPC.KeyFile},
			Help:    "The key of grpc-tls-cert-file."},
		{Name: "grpc-client-ca-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.GRPC.ClientCAFile},
			Help:    "As gateway-client-ca-file, for the clients of the server."},
		{Name: "grpc-client-names", Group: "TLS", Placeholder: "NAME",
			Targets: []any{&cfg.GRPC.ClientNames},
			Help:    "As gateway-client-names, for the clients of the server."},
		{Name: "admin-tls-cert-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.Admin.CertFile},
			Help:    "The certificate of the admin port, or none for no TLS. Default: tls-cert-file."},
		{Name: "admin-tls-key-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.Admin.KeyFile},
			Help:    "The key of admin-tls-cert-file."},
		{Name: "tls-client-cert-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.ClientCertFile},
			Help: "A client certificate in PEM, which the bff shows to the gateway and the gateway to the " +
				"server. Default: none."},
		{Name: "tls-client-key-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.ClientKeyFile},
			Help:    "The key of tls-client-cert-file."},
		{Name: "grpc-tls", Group: "TLS",
			Targets: []any{&cfg.CallGRPC},
			Help: "Call grpc-target with TLS. It is implied by grpc-ca-file and tls-client-cert-file. Default: " +
				"without TLS."},
		{Name: "grpc-ca-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.GRPCCAFile},
			Help: "The authorities, in PEM, that alone are trusted for the certificate of grpc-target. Default: " +
				"the system's, for every setting of this kind."},
		{Name: "gateway-ca-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.GatewayCAFile},
			Help:    "The authorities for the certificate of gateway-url."},
		{Name: "frontend-ca-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.FrontendCAFile},
			Help:    "The authorities for the certificate of a front-end server."},
		{Name: "oidc-ca-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.OIDCCAFile},
			Help:    "The authorities for the certificate of the OpenID provider."},
		{Name: "session-store-ca-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.StoreCAFile},
			Help: "The authorities for the certificate of the session store: rediss://… or postgres://…, which " +
				"it makes sslmode=verify-full. Client certificates are parameters of the address: cert_file and " +
				"key_file for Redis, sslcert and sslkey for PostgreSQL."},
		{Name: "database-ca-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.DatabaseCAFile},
			Help:    "As session-store-ca-file, for database-url."},
		{Name: "denylist-ca-file", Group: "TLS", Placeholder: "FILE",
			Targets: []any{&cfg.DenylistCAFile},
			Help:    "As session-store-ca-file, for the denylist."},
		{Name: "insecure-tokens-in-clear", Group: "TLS",
			Targets: []any{&cfg.InsecureTokensInClear},
			Help: "Accept that bearer tokens leave this machine, or arrive from others, without TLS, where the " +
				"network encrypts by itself, as a service mesh does. INSECURE elsewhere: each host on the path " +
				"can use the tokens. Without it a warning is logged at the start."},
	}
}
