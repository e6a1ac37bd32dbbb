package gatehouse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/spa"
	"github.com/gatehouse-dev/gatehouse/internal/hostcheck"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
	"github.com/gatehouse-dev/gatehouse/internal/origin"
	"github.com/gatehouse-dev/gatehouse/internal/seal"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// A settingError says what is wrong with a setting and how to mend it, in one
// line. A password in the value is not shown.
func settingError(setting, value, problem, remedy string) error {
	switch {
	case slices.Contains(confidential, setting):
		return fmt.Errorf("%s=%s: %s; %s", setting, place(value), problem, remedy)
	case value != "":
		return fmt.Errorf("%s=%s: %s; %s", setting, redacted(value), problem, remedy)
	}
	return fmt.Errorf("%s: %s; %s", setting, problem, remedy)
}

// Validate reports everything that is missing, unsafe or contradictory for
// the parts that are to run, one line each. It contacts nobody.
func (cfg config) Validate(parts partSet) error {
	cfg.withDefaults()
	var errs []error
	bad := func(setting, value, problem, remedy string) {
		errs = append(errs, settingError(setting, value, problem, remedy))
	}
	if parts.BFF || parts.Server {
		errs = append(errs, addressError("GATEHOUSE_OIDC_ISSUER", cfg.Issuer, cfg.issuerProblem()))
		if cfg.InternalURL != "" {
			errs = append(errs, addressError("GATEHOUSE_OIDC_INTERNAL_URL", cfg.InternalURL, cfg.internalURLProblem()))
		}
		if cfg.Audience == "" {
			bad("GATEHOUSE_AUDIENCE", "", "missing: without an audience many providers issue opaque access tokens, which nobody here can verify",
				"register the API with the provider and give its identifier")
		}
	}
	if parts.Server && cfg.Audience != "" && cfg.Audience == cfg.ClientID && !cfg.RequireATJWT {
		bad("GATEHOUSE_AUDIENCE", cfg.Audience, "is the client's id too, so that ID tokens would pass for access tokens (RFC 8725 section 3.12)",
			"give the API an identifier of its own, or set GATEHOUSE_REQUIRE_AT_JWT")
	}
	if parts.Server {
		errs = append(errs, folderError("GATEHOUSE_DATABASE_URL", cfg.DatabaseURL))
	}
	errs = append(errs, cfg.validateAddresses(parts)...)
	errs = append(errs, cfg.validateLimits()...)
	if parts.BFF || parts.Gateway {
		for _, name := range cfg.AllowedHosts {
			if err := hostcheck.CheckName(name); err != nil {
				bad("GATEHOUSE_ALLOWED_HOSTS", name, "not a host name or address", "give one without scheme, port and wildcard, such as app.test")
			}
		}
	}
	if parts.BFF || parts.Server {
		if problem, remedy := denylistProblem(cfg.Denylist, parts); problem != "" {
			bad("GATEHOUSE_DENYLIST", cfg.Denylist, problem, remedy)
		}
	}
	if parts.Server {
		scheme, rest, _ := strings.Cut(cfg.DatabaseURL, ":")
		if (scheme != "sqlite" && scheme != "postgres" && scheme != "postgresql" || rest == "") && cfg.DatabaseURL != "memory:" {
			bad("GATEHOUSE_DATABASE_URL", cfg.DatabaseURL, "no such database", "give sqlite:PATH, postgres://USER:PASSWORD@HOST/NAME, or memory: for data that ends with the process")
		}
	}
	if parts.BFF {
		errs = append(errs, cfg.validateBFF(parts)...)
	}
	if parts.Gateway && !parts.BFF && cfg.BaseURL != "" {
		_, err := origin.Parse(cfg.BaseURL)
		errs = append(errs, addressError("GATEHOUSE_BASE_URL", cfg.BaseURL, err))
	}
	if parts.Gateway && !parts.Server && cfg.GRPCTarget == "" {
		bad("GATEHOUSE_GRPC_TARGET", "", "missing", "give the server's address, such as dns:///server:9090")
	}
	if scheme, address, ok := strings.Cut(cfg.GRPCTarget, "://"); ok && parts.Gateway && !parts.Server && (scheme == "http" || scheme == "https") {
		bad("GATEHOUSE_GRPC_TARGET", cfg.GRPCTarget, "is the address of an HTTP server", "did you mean dns:///"+strings.TrimSuffix(address, "/")+"?")
	}
	return errors.Join(errs...)
}

// issuerProblem adds what is to be done where the address at which the provider
// is reached was given in the place of its issuer.
func (cfg config) issuerProblem() error {
	err := origin.Issuer(cfg.Issuer)
	if problem, ok := errors.AsType[*origin.Error](err); ok && strings.HasPrefix(cfg.Issuer, "http://") && problem.Remedy == "use https://" {
		return &origin.Error{Problem: problem.Problem, Remedy: problem.Remedy +
			"; if that is where the provider is reached inside a cluster, give its issuer here, and this address as GATEHOUSE_OIDC_INTERNAL_URL"}
	}
	return err
}

func (cfg config) internalURLProblem() error {
	const remedy = "give scheme, host and port at which the provider is reached, such as https://keycloak.auth.svc:8443"
	u, err := origin.Upstream(cfg.InternalURL)
	switch {
	case err != nil:
		return err
	case u.User != nil:
		return &origin.Error{Problem: "has a user name or password in it", Remedy: "leave it out"}
	case strings.TrimSuffix(u.Path, "/") != "" || strings.ContainsAny(cfg.InternalURL, "?#"):
		return &origin.Error{Problem: "is more than an origin", Remedy: remedy}
	case u.Scheme == "http" && !loopback.Host(u.Hostname()) && !cfg.InsecureInternalHTTP:
		return &origin.Error{Problem: "http is for loopback only: the client's secret, codes and tokens would travel in the clear",
			Remedy: "use https, or GATEHOUSE_INSECURE_OIDC_INTERNAL_HTTP where the network between is yours alone"}
	}
	return nil
}

// blurred says which settings blur the difference between access tokens and
// other tokens.
func (cfg config) blurred() []string {
	profiles := token.ProfileSettings{
		ClientID: cfg.ClientID, Scope: cfg.Scope, Audience: cfg.Audience, RequireATJWT: cfg.RequireATJWT,
		IDTokenClients: cfg.IDTokenClients, InsecureIDTokenShape: cfg.InsecureIDTokenShape,
	}
	settings := map[string]string{
		"Scope": "GATEHOUSE_OIDC_SCOPE", "IDTokenClients": "GATEHOUSE_ID_TOKEN_CLIENTS", "InsecureIDTokenShape": "GATEHOUSE_INSECURE_ID_TOKEN_SHAPE",
	}
	var lines []string
	for _, f := range profiles.Findings() {
		lines = append(lines, settings[f.Field]+": "+f.What+"; "+f.Remedy)
	}
	return lines
}

func (cfg config) validateBFF(parts partSet) []error {
	var errs []error
	bad := func(setting, value, problem, remedy string) {
		errs = append(errs, settingError(setting, value, problem, remedy))
	}
	if cfg.ClientID == "" {
		bad("GATEHOUSE_OIDC_CLIENT_ID", "", "missing", "give the id of the client that is registered with the provider")
	}
	_, err := origin.Parse(cfg.BaseURL)
	errs = append(errs, addressError("GATEHOUSE_BASE_URL", cfg.BaseURL, err))
	if len(cfg.Secrets) == 0 {
		bad("GATEHOUSE_SECRET", "", "missing", "make one with: openssl rand -hex 32")
	}
	for i, secret := range cfg.Secrets {
		if problem := seal.Weakness(secret); problem != "" {
			bad("GATEHOUSE_SECRET", "", fmt.Sprintf("secret %d of %d %s", i+1, len(cfg.Secrets), problem), "make one with: openssl rand -hex 32")
		}
	}
	errs = append(errs, cfg.validateLogin()...)
	errs = append(errs, cfg.validateSessions()...)
	errs = append(errs, checkStore(cfg.SessionStore))
	if kind := storeKind(cfg.SessionStore); cfg.Replicas > 1 && (kind == "memory" || kind == "sqlite") {
		bad("GATEHOUSE_REPLICAS", fmt.Sprint(cfg.Replicas), "the session store "+kind+": is of one process alone",
			"run one bff, or give them "+storeSetting+"=postgres://… or redis://…")
	}
	if cfg.Replicas > 1 && cfg.Denylist == "memory:" {
		bad("GATEHOUSE_REPLICAS", fmt.Sprint(cfg.Replicas), "the denylist memory: is of one process alone", "give GATEHOUSE_DENYLIST=redis://HOST:PORT")
	}
	if cfg.Replicas < 1 {
		bad("GATEHOUSE_REPLICAS", fmt.Sprint(cfg.Replicas), "not a positive number", "give the number of bffs that share the session store")
	}
	if cfg.Protect != nil && cfg.Public != nil {
		bad("GATEHOUSE_PUBLIC", listed(cfg.Public), "contradicts GATEHOUSE_PROTECT="+listed(cfg.Protect)+": with public paths everything else needs a login already",
			"drop one of the two")
	}
	for _, path := range cfg.Public {
		if err := bff.CheckPattern(path); err != nil {
			bad("GATEHOUSE_PUBLIC", path, err.Error(), "give patterns such as / or /assets/:path*, or none")
		}
	}
	for _, page := range cfg.Protect {
		if err := bff.CheckPattern(page); err != nil {
			bad("GATEHOUSE_PROTECT", page, err.Error(), "give patterns such as /private/:path*, or none")
		}
	}
	if cfg.Frontend != defaultFrontend || cfg.FrontendCSP != "" {
		errs = append(errs, cfg.validateFrontend()...)
	}
	if !parts.Gateway {
		_, err := origin.Upstream(cfg.GatewayURL)
		errs = append(errs, addressError("GATEHOUSE_GATEWAY_URL", cfg.GatewayURL, err))
	}
	return errs
}

// folderError reports a sqlite:PATH whose folder is not there.
func folderError(setting, value string) error {
	path, ok := strings.CutPrefix(value, "sqlite:")
	if !ok || path == "" {
		return nil
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return settingError(setting, value, "the folder "+filepath.Dir(path)+" does not exist", "make it, writable by the user that runs gatehouse")
	}
	return nil
}

// validateAddresses reports addresses that are none, and two parts at one.
func (cfg config) validateAddresses(parts partSet) []error {
	var errs []error
	taken := map[string]string{}
	for _, l := range []struct {
		wanted           bool
		setting, address string
	}{
		{parts.BFF, "GATEHOUSE_LISTEN_BFF", cfg.ListenBFF},
		{parts.Gateway, "GATEHOUSE_LISTEN_GATEWAY", cfg.ListenGateway},
		{parts.Server, "GATEHOUSE_LISTEN_GRPC", cfg.ListenGRPC},
		{cfg.ListenAdmin != "", "GATEHOUSE_LISTEN_ADMIN", cfg.ListenAdmin},
	} {
		if !l.wanted {
			continue
		}
		_, port, err := net.SplitHostPort(l.address)
		_, numberErr := strconv.ParseUint(l.address, 10, 16)
		switch {
		case err != nil && numberErr == nil:
			errs = append(errs, settingError(l.setting, l.address, "not an address with a port", "did you mean :"+l.address+"?"))
		case err != nil:
			errs = append(errs, settingError(l.setting, l.address, "not an address with a port", "give HOST:PORT of this machine, such as 127.0.0.1:3000, or :3000 for all its addresses"))
		case !isPort(port):
			errs = append(errs, settingError(l.setting, l.address, fmt.Sprintf("the port %q is neither a number up to 65535 nor the name of a service", port), "correct the port"))
		case taken[l.address] != "" && port != "0":
			errs = append(errs, settingError(l.setting, l.address, "is also "+taken[l.address], "give each part an address of its own"))
		}
		taken[l.address] = l.setting
	}
	return errs
}

// isPort reports whether a port, by number or by name, can be listened on.
func isPort(port string) bool {
	_, err := net.DefaultResolver.LookupPort(context.Background(), "tcp", port) // looks into a file, at most
	return err == nil
}

// validateLimits reports limits on messages that gRPC cannot keep, or that leave
// no room for a message.
func (cfg config) validateLimits() []error {
	var errs []error
	for _, limit := range []struct {
		setting string
		bytes   int
	}{{"GATEHOUSE_MAX_REQUEST_BYTES", cfg.MaxRequestBytes}, {"GATEHOUSE_MAX_RESPONSE_BYTES", cfg.MaxResponseBytes}} {
		if limit.bytes < minMessageBytes || limit.bytes > maxMessageBytes {
			errs = append(errs, settingError(limit.setting, fmt.Sprint(limit.bytes), "too small or too large a limit on messages",
				fmt.Sprintf("give a number of bytes from %d to %d", minMessageBytes, maxMessageBytes)))
		}
	}
	return errs
}

// listed is a list of patterns as it is written in a setting.
func listed(patterns []string) string { return cmp.Or(strings.Join(patterns, ","), "none") }

// onLoopback reports whether an address to listen on is reached from this
// machine alone.
func onLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && loopback.Host(host)
}

func (cfg config) validateLogin() []error {
	var errs []error
	if scopes := strings.Fields(cfg.Scope); len(scopes) > 0 && !slices.Contains(scopes, "openid") {
		remedy := "add openid"
		if strings.Contains(cfg.Scope, ",") {
			remedy = "separate scopes by spaces, openid among them"
		}
		errs = append(errs, settingError("GATEHOUSE_OIDC_SCOPE", cfg.Scope, "lacks openid, without which there is no login", remedy))
	}
	if choice := cfg.OfflineConsent; choice != "" && choice != string(bff.ConsentAlways) && choice != string(bff.ConsentNever) {
		errs = append(errs, settingError("GATEHOUSE_OIDC_OFFLINE_CONSENT", choice, "no such choice", fmt.Sprintf("give %s or %s, or leave it out", bff.ConsentAlways, bff.ConsentNever)))
	}
	if err := bff.CheckClientKey(cfg.ClientKey); err != nil {
		errs = append(errs, settingError("GATEHOUSE_OIDC_CLIENT_KEY", "", err.Error(),
			"give the path of a file with one in GATEHOUSE_OIDC_CLIENT_KEY_FILE, or make one with: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048"))
	}
	if err := bff.CheckClientAuth(bff.AuthMethod(cfg.ClientAuth), cfg.ClientSecret, cfg.ClientKey); err != nil {
		errs = append(errs, settingError("GATEHOUSE_OIDC_CLIENT_AUTH", cfg.ClientAuth, err.Error(),
			"give the way that goes with GATEHOUSE_OIDC_CLIENT_SECRET or GATEHOUSE_OIDC_CLIENT_KEY, or drop what is not used"))
	}
	if audience := cfg.AssertionAudience; !slices.Contains([]bff.AssertionAudience{"", bff.AssertionForIssuer, bff.AssertionForTokenEndpoint}, bff.AssertionAudience(audience)) {
		errs = append(errs, settingError("GATEHOUSE_OIDC_ASSERTION_AUDIENCE", audience, "no such choice", fmt.Sprintf("give %s or %s, or leave it out", bff.AssertionForIssuer, bff.AssertionForTokenEndpoint)))
	}
	if mode := cfg.ResponseMode; bff.ResponseMode(mode) != bff.ModeQuery && bff.ResponseMode(mode) != bff.ModeFormPost {
		errs = append(errs, settingError("GATEHOUSE_OIDC_RESPONSE_MODE", mode, "no such choice", fmt.Sprintf("give %s, or leave it out", bff.ModeFormPost)))
	}
	if cfg.LoginRate < 0 {
		errs = append(errs, settingError("GATEHOUSE_LOGIN_RATE", fmt.Sprint(cfg.LoginRate), "negative", fmt.Sprintf("give how many logins one address may start in a minute, such as %d", bff.DefaultLoginRate)))
	}
	return errs
}

// validateSessions lets zero pass, for which there are defaults.
func (cfg config) validateSessions() []error {
	var errs []error
	for _, timeout := range []struct {
		setting string
		value   time.Duration
	}{
		{"GATEHOUSE_SESSION_IDLE_TIMEOUT", cfg.IdleTimeout},
		{"GATEHOUSE_SESSION_ABSOLUTE_TIMEOUT", cfg.AbsoluteTimeout},
		{"GATEHOUSE_REFRESH_TIMEOUT", cfg.RefreshTimeout},
		{"GATEHOUSE_STREAM_HEARTBEAT", cfg.StreamHeartbeat},
		{"GATEHOUSE_SHUTDOWN_TIMEOUT", cfg.ShutdownTimeout},
	} {
		if timeout.value != 0 && timeout.value < time.Second {
			errs = append(errs, settingError(timeout.setting, timeout.value.String(), "shorter than a second", "give a duration such as 90s or 24h"))
		}
	}
	if cfg.CookieName != "" {
		if err := session.CheckCookieName(cfg.CookieName); err != nil {
			errs = append(errs, settingError("GATEHOUSE_COOKIE_NAME", cfg.CookieName, err.Error(), "give letters, digits and hyphens, such as "+session.CookieName))
		}
	}
	if cfg.AbsoluteTimeout > 0 && cfg.IdleTimeout > cfg.AbsoluteTimeout {
		errs = append(errs, settingError("GATEHOUSE_SESSION_IDLE_TIMEOUT", cfg.IdleTimeout.String(),
			"longer than GATEHOUSE_SESSION_ABSOLUTE_TIMEOUT, so that it would never be reached", "make it shorter than "+cfg.AbsoluteTimeout.String()))
	}
	return errs
}

func (cfg config) validateFrontend() []error {
	if cfg.FrontendCSP != "" && !strings.HasPrefix(cfg.Frontend, "dir:") {
		return []error{settingError("GATEHOUSE_FRONTEND_CSP", cfg.FrontendCSP, "is for a front end from a directory alone: a front-end server, and the embedded pages, bring their own", "leave it out")}
	}
	if dir, ok := strings.CutPrefix(cfg.Frontend, "dir:"); ok {
		if _, err := spa.New(spa.Config{Dir: dir, ContentSecurityPolicy: cfg.FrontendCSP}); err != nil {
			return []error{fmt.Errorf("GATEHOUSE_FRONTEND=%s: %w", cfg.Frontend, err)}
		}
		return nil
	}
	_, err := origin.Upstream(cfg.Frontend)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*origin.Error](err); ok && strings.HasPrefix(e.Remedy, "did you mean") && strings.Contains(cfg.Frontend, ":") {
		return []error{addressError("GATEHOUSE_FRONTEND", cfg.Frontend, err)}
	}
	if info, err := os.Stat(cfg.Frontend); err == nil && info.IsDir() {
		return []error{settingError("GATEHOUSE_FRONTEND", cfg.Frontend, "is a directory", "did you mean dir:"+cfg.Frontend+"?")}
	}
	return []error{settingError("GATEHOUSE_FRONTEND", cfg.Frontend, "no kind of front end that is known", "give embedded:, dir:PATH or the http:// address of a front-end server")}
}

// addressError names the setting of an error of package origin; nil for nil.
func addressError(setting, value string, err error) error {
	e, ok := errors.AsType[*origin.Error](err)
	if !ok {
		return err
	}
	return settingError(setting, value, e.Problem, e.Remedy)
}

// The limits on messages that can be set: gRPC's own end at 2 GiB, with room.
const (
	minMessageBytes = 1 << 10
	maxMessageBytes = 1 << 30
)

// confidential settings may hold a password anywhere in their value, mistyped
// ones included.
var confidential = []string{"GATEHOUSE_DATABASE_URL", "GATEHOUSE_DENYLIST", storeSetting}

// place shows of such a value where it leads, if that can be told for certain.
func place(value string) string {
	if value == "memory" || value == "memory:" || strings.HasPrefix(value, "sqlite:") {
		return value
	}
	if u, err := url.Parse(value); err == nil && u.Host != "" {
		return u.Scheme + "://" + u.Host
	}
	return "(not shown)"
}

// redacted hides a password in a URL.
func redacted(value string) string {
	u, err := url.Parse(value)
	switch {
	case err == nil && u.User != nil:
		return u.Redacted()
	case err != nil && strings.Contains(value, "@"): // perhaps a password that is not escaped
		return "(not shown)"
	}
	return value
}
