package app

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/loopback"
)

// A settingError says what is wrong with a setting and how to mend it, in one
// line.
func settingError(setting, value, problem, remedy string) error {
	if value != "" {
		return fmt.Errorf("%s=%s: %s; %s", setting, value, problem, remedy)
	}
	return fmt.Errorf("%s: %s; %s", setting, problem, remedy)
}

// Validate reports everything that is missing, unsafe or contradictory for
// the parts that are to run, one line each. It contacts nobody.
func (cfg Config) Validate(parts Parts) error {
	cfg.withDefaults()
	var errs []error
	bad := func(setting, value, problem, remedy string) {
		errs = append(errs, settingError(setting, value, problem, remedy))
	}
	if parts.BFF || parts.Server {
		if problem := originProblem(cfg.Issuer, true); problem != "" {
			bad("GATEHOUSE_OIDC_ISSUER", cfg.Issuer, problem, "give the provider's issuer, such as https://tenant.eu.auth0.com/")
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
		scheme, rest, _ := strings.Cut(cfg.DatabaseURL, ":")
		if (scheme != "sqlite" && scheme != "postgres" && scheme != "postgresql" || rest == "") && cfg.DatabaseURL != "memory:" {
			bad("GATEHOUSE_DATABASE_URL", redacted(cfg.DatabaseURL), "no such database", "give sqlite:PATH, postgres://USER:PASSWORD@HOST/NAME, or memory: for products that end with the process")
		}
	}
	if parts.BFF {
		errs = append(errs, cfg.validateBFF(parts)...)
	}
	if parts.Gateway && !parts.BFF && cfg.BaseURL != "" {
		if problem := originProblem(cfg.BaseURL, false); problem != "" {
			bad("GATEHOUSE_BASE_URL", cfg.BaseURL, problem, "give the origin that browsers see, such as https://shop.example")
		}
	}
	if parts.Gateway && !parts.Server && cfg.GRPCTarget == "" {
		bad("GATEHOUSE_GRPC_TARGET", "", "missing", "give the server's address, such as dns:///server:9090")
	}
	return errors.Join(errs...)
}

func (cfg Config) validateBFF(parts Parts) []error {
	var errs []error
	bad := func(setting, value, problem, remedy string) {
		errs = append(errs, settingError(setting, value, problem, remedy))
	}
	if cfg.ClientID == "" {
		bad("GATEHOUSE_OIDC_CLIENT_ID", "", "missing", "give the id of the client that is registered with the provider")
	}
	if problem := originProblem(cfg.BaseURL, false); problem != "" {
		bad("GATEHOUSE_BASE_URL", cfg.BaseURL, problem, "give the origin that browsers see, such as https://shop.example")
	}
	if len(cfg.Secrets) == 0 {
		bad("GATEHOUSE_SECRET", "", "missing", "make one with: openssl rand -hex 32")
	}
	for i, secret := range cfg.Secrets {
		if problem := secretProblem(secret); problem != "" {
			bad("GATEHOUSE_SECRET", "", fmt.Sprintf("secret %d of %d %s", i+1, len(cfg.Secrets), problem), "make one with: openssl rand -hex 32")
		}
	}
	switch scheme, rest, _ := strings.Cut(cfg.SessionStore, ":"); {
	case cfg.SessionStore == "memory:", scheme == "sqlite" && rest != "":
		if cfg.Replicas > 1 {
			bad("GATEHOUSE_REPLICAS", fmt.Sprint(cfg.Replicas), "the session store "+scheme+": is of one process alone", "run one bff")
		}
	default:
		bad("GATEHOUSE_SESSION_STORE", redacted(cfg.SessionStore), "no such store", "give memory: or sqlite:PATH")
	}
	if cfg.Replicas < 1 {
		bad("GATEHOUSE_REPLICAS", fmt.Sprint(cfg.Replicas), "not a positive number", "give the number of bffs that share the session store")
	}
	if cfg.Frontend != DefaultFrontend {
		errs = append(errs, cfg.validateFrontend()...)
	}
	if !parts.Gateway {
		if u, err := url.Parse(cfg.GatewayURL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			bad("GATEHOUSE_GATEWAY_URL", cfg.GatewayURL, "missing or not a URL", "give the gateway's address, such as http://gateway:5000")
		}
	}
	return errs
}

func (cfg Config) validateFrontend() []error {
	if dir, ok := strings.CutPrefix(cfg.Frontend, "dir:"); ok {
		info, err := os.Stat(dir)
		if err != nil || !info.IsDir() {
			return []error{settingError("GATEHOUSE_FRONTEND", cfg.Frontend, "no such directory", "build the front end first, or correct the path")}
		}
		return nil
	}
	if u, err := url.Parse(cfg.Frontend); err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
		return nil
	}
	return []error{settingError("GATEHOUSE_FRONTEND", cfg.Frontend, "none that is known", "give embedded:, dir:PATH or the http:// address of a front-end server")}
}

// originProblem says what is wrong with a URL that is to be an origin, or an
// issuer, which may have a path.
func originProblem(raw string, issuer bool) string {
	if raw == "" {
		return "missing"
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return "not a URL"
	case u.User != nil:
		return "has a user name or password in it"
	case u.RawQuery != "" || u.Fragment != "":
		return "has a query or a fragment"
	case !issuer && strings.TrimSuffix(u.Path, "/") != "":
		return "has a path; it must be an origin"
	case u.Scheme == "https":
		return ""
	case u.Scheme != "http":
		return "neither https nor http"
	case !loopback.Host(u.Hostname()):
		return "http is for loopback alone: codes and cookies would travel in the clear"
	}
	return ""
}

// placeholders are secrets that stand in documentation and examples.
var placeholders = []string{
	"use [openssl rand -hex 32] to generate a 32 bytes value",
	"a long, randomly-generated string stored in env",
	"replace-with-your-own-secret-generated-with-openssl",
	"long_random_value", "changeme", "secret",
}

// secretProblem never shows the secret.
func secretProblem(secret string) string {
	distinct := map[rune]bool{}
	for _, c := range secret {
		distinct[c] = true
	}
	lower := strings.ToLower(secret)
	switch {
	case slices.ContainsFunc(placeholders, func(p string) bool { return lower == p }):
		return "is a placeholder from documentation"
	case len(secret) < 32:
		return fmt.Sprintf("has %d characters; 32 are needed", len(secret))
	case len(distinct) < 8:
		return "is too regular to be random"
	}
	return ""
}

// redacted hides a password in the URL of a store.
func redacted(store string) string {
	if u, err := url.Parse(store); err == nil {
		return u.Redacted()
	}
	return "(not a URL)"
}
