package gatehouse

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/catalog"
	"github.com/gatehouse-dev/gatehouse/gateway"
	"github.com/gatehouse-dev/gatehouse/internal/admin"
	"github.com/gatehouse-dev/gatehouse/internal/auditlog"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/origin"
	"github.com/gatehouse-dev/gatehouse/internal/settings"
	"github.com/gatehouse-dev/gatehouse/internal/telemetry"
	"github.com/gatehouse-dev/gatehouse/internal/testrun"
	"github.com/gatehouse-dev/gatehouse/internal/tlsconfig"
	"github.com/gatehouse-dev/gatehouse/lifecycle"
	"github.com/gatehouse-dev/gatehouse/oidc"
	"github.com/gatehouse-dev/gatehouse/server"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// config is made of the configurations of the parts and of what only the program
// knows. The table of settings has pointers to its fields.
type config struct {
	Provider oidc.Config
	Server   server.Config
	Gateway  gateway.Config
	BFF      bff.Config
	// Issuers are further issuers of tokens.
	Issuers []issuerConfig
	// Gateways are those of a bff that runs alone.
	Gateways bff.UpstreamConfig
	// Routes are those of the bff, in the form of the setting.
	Routes []routeConfig
	// Servers are those of a gateway that has none in its process.
	Servers gateway.DialConfig

	// File is the configuration file that was read.
	File string

	// SessionStore is "memory:", "sqlite:PATH", "postgres://…", "redis://…",
	// "redis-cluster://…" or "redis-sentinel://…"; the latter three also with
	// rediss for TLS.
	SessionStore string
	// DatabaseURL is where services keep their data: "memory:", "sqlite:PATH" or
	// "postgres://…".
	DatabaseURL string
	// FilesURL is where services keep files: "memory:", "dir:PATH" or a URL such
	// as "s3://BUCKET?region=REGION". MaxFileBytes is the maximum of one.
	FilesURL     string
	MaxFileBytes int64
	// Denylist is where revoked access tokens are known: "" for nowhere,
	// "memory:", or a redis:// URL.
	Denylist string
	// Introspection is "off", "on", or the URL of an introspection endpoint.
	Introspection string
	// Frontend is "embedded:", "dir:PATH" or the URL of a front-end server.
	Frontend string
	// FrontendCSP is the Content Security Policy of the pages in a directory;
	// "" for the one of package spa.
	FrontendCSP string
	// Catalog is the path of the catalog of the pages; "" for that of the
	// application, or the built-in one.
	Catalog string

	// The addresses to listen on. An empty one takes the command's default;
	// ListenAdmin has none.
	ListenBFF, ListenGateway, ListenGRPC, ListenAdmin, ListenDevIDP string
	// DevUsers is the path of the users file of the development provider; "" for the
	// default file, if it is there.
	DevUsers string
	// SocketMode has the permissions of Unix sockets among them.
	SocketMode fs.FileMode
	// H2C makes the bff speak HTTP/2 without TLS, too.
	H2C bool
	// TLS names certificates, keys and authorities.
	TLS tlsconfig.Config
	// Admin is the port at ListenAdmin.
	Admin admin.Config
	// MaxConnections bounds the open connections of each port.
	MaxConnections int
	// LameDuck is how long the process serves while it is not ready, before it
	// stops.
	LameDuck time.Duration
	// ShutdownTimeout bounds how long requests in flight may take to end.
	ShutdownTimeout time.Duration

	// LogFormat is "auto", "text" or "json", LogLevel the least level that is
	// logged.
	LogFormat, LogLevel string
	// AccessLog is the share of requests that are logged.
	AccessLog logs.Share
	// AuditLog is where audit events are written: "" for nowhere, "stdout", or the
	// path of a file.
	AuditLog string
}

// The defaults of settings that depend on the command.
const (
	defaultListenBFF     = ":3000"
	defaultListenGateway = ":5000"
	defaultListenGRPC    = ":9090"
	defaultListenDevIDP  = "127.0.0.1:3001"
	defaultSessionStore  = "sqlite:gatehouse-sessions.db"
	defaultDatabaseURL   = "sqlite:gatehouse.db"
	defaultFilesURL      = "dir:gatehouse-files"
)

// A program is an application with its settings.
type program struct {
	app    App
	cfg    config
	table  settings.Table
	values *settings.Values
	// introspection is Server.Authn.Introspection, which is nil if that is off.
	introspection *authn.IntrospectionConfig
	// pages is the catalog of the pages, after validate.
	pages *catalog.Catalog

	development bool               // the command is dev
	recorder    *auditlog.Recorder // of the program's own audit events
	level       *slog.LevelVar     // of the logger
	telemetry   *telemetry.Telemetry
	log         *logs.Batch // what logger writes to
	logger      *slog.Logger
	out         io.Writer        // where people read how to go on
	now         func() time.Time // nil for time.Now
	hooks       *testrun.Hooks   // of package gatehousetest; nil if the process is the program's
}

// newProgram returns a program whose settings have not been read. Its logger
// discards.
func newProgram(app App, out io.Writer) (*program, error) {
	p := &program{app: app, level: new(slog.LevelVar), log: logs.NewBatch(io.Discard), logger: slog.New(slog.DiscardHandler), out: out}
	p.introspection = &authn.IntrospectionConfig{}
	p.cfg.Server.Authn.Introspection = p.introspection
	p.table = p.settings()
	return p, p.checkApp()
}

// checkApp returns what is wrong with the App for any command.
func (p *program) checkApp() error {
	var errs []error
	if err := settings.CheckName(p.app.name()); err != nil {
		errs = append(errs, fmt.Errorf("gatehouse: App.Name %q %w", p.app.Name, err))
	}
	if err := p.table.Check(); err != nil {
		errs = append(errs, fmt.Errorf("gatehouse: App.Settings: %w", err))
	}
	for i, s := range p.app.Services {
		if s.desc == nil {
			errs = append(errs, fmt.Errorf("gatehouse: App.Services[%d] has no descriptor; make it with NewService", i))
		}
	}
	return errors.Join(errs...)
}

// read reads the settings from their sources and adjusts those whose text is not
// their value.
func (p *program) read(from settings.Sources) {
	cfg := &p.cfg
	p.values = p.table.Read(from)
	p.values.Bind(cfg)
	for _, s := range []struct{ name, address string }{{"oidc-issuer", cfg.Provider.Issuer}, {"base-url", cfg.BFF.BaseURL}} {
		if full := origin.WithScheme(s.address); full != s.address {
			p.values.Note(s.name, "the scheme is missing; read as "+full)
			p.values.Set(s.name, full)
		}
	}
	// Every part gets the base URL as browsers write it.
	if base, err := origin.Parse(cfg.BFF.BaseURL); err == nil {
		p.values.Set("base-url", base.String())
	}
	for _, list := range []*[]string{&cfg.BFF.Access.Protect, &cfg.BFF.Access.Public} {
		if len(*list) == 1 && (*list)[0] == "none" {
			*list = []string{}
		}
	}
	if n := &cfg.Server.Limits.MaxRequestBytes; *n > 0 {
		*n += server.RequestRoom
	}
	p.adjustIntrospection()
	cfg.Gateway.Resource.Issuers = p.published()
	cfg.BFF.Routes = cfg.bffRoutes()
	cfg.BFF.Sessions.Secrets = settings.WithTidied(cfg.BFF.Sessions.Secrets)
}

// setDefaults gives settings without a value the defaults of commands other than
// dev.
func (p *program) setDefaults() {
	cfg := &p.cfg
	p.setDefault("listen-bff", cfg.ListenBFF, defaultListenBFF)
	p.setDefault("listen-gateway", cfg.ListenGateway, defaultListenGateway)
	p.setDefault("listen-grpc", cfg.ListenGRPC, defaultListenGRPC)
	p.setDefault("session-store", cfg.SessionStore, defaultSessionStore)
	p.setDefault("database-url", cfg.DatabaseURL, defaultDatabaseURL)
	p.setDefault("files-url", cfg.FilesURL, defaultFilesURL)
	if cfg.ShutdownTimeout == 0 {
		cfg.ShutdownTimeout = lifecycle.DefaultShutdownTimeout
	}
	if cfg.BFF.Sessions.Nodes == 0 {
		cfg.BFF.Sessions.Nodes = 1
	}
}

// setDefault sets a setting whose value is empty to fallback. Errors then name the
// source "default".
func (p *program) setDefault(name, value, fallback string) {
	if value == "" {
		p.values.Set(name, fallback)
	}
}

// A partSet says which parts run in this process.
type partSet struct {
	BFF, Gateway, Server bool
}

// allParts is every part.
var allParts = partSet{BFF: true, Gateway: true, Server: true}
