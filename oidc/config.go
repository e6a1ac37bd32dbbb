package oidc

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
	"github.com/gatehouse-dev/gatehouse/internal/origin"
)

// Config describes an OpenID provider. Only Issuer is required.
type Config struct {
	// Issuer is the issuer identifier: an https URL, or an http URL of a
	// loopback host. Only a trailing slash may differ from the metadata.
	Issuer string
	// InternalURL is the origin at which this process reaches the provider, if
	// it is not that of Issuer: "https://keycloak.auth.svc:8443". It replaces
	// scheme, host and port of every request; path and query stay. The Host
	// header and the TLS server name are those of InternalURL. Addresses that
	// browsers are sent to, and Issuer, do not change.
	InternalURL string
	// InsecureInternalHTTP allows an InternalURL with http off loopback. The
	// client's secret, codes and tokens are then sent in the clear, and any host
	// on the path can replace the provider's keys.
	InsecureInternalHTTP bool
	// JWKSURL is the address of the issuer's key set, for an issuer whose metadata
	// cannot be fetched or names an address that this process does not reach. No
	// metadata is fetched then, and Issuer may be any text without spaces. It is an
	// https URL, or an http URL of a loopback host.
	JWKSURL string
	// JWKSFile is the path of a file with the key set, in the place of JWKSURL. It is
	// read every 5 seconds. If what it has cannot be used, the keys read before stay
	// in use, for 24 hours.
	JWKSFile string
	// CAFile is the path of a file with the certificates of the authorities, in PEM,
	// that alone are trusted for requests to the issuer. It is read again before each
	// request, and excludes HTTPClient. Default: the system's.
	CAFile string
	// BearerTokenFile is the path of a file with the token that requests to the issuer
	// carry, as the API server of Kubernetes requires. It is read for each request, and
	// sent to the host of Issuer, JWKSURL and InternalURL only. Default: none.
	BearerTokenFile string
	// HTTPClient sends the requests; nil means a client with short timeouts. In
	// either case a request ends within 5 seconds, a response body has at most
	// 1 MiB, and a redirect from https to http, or to http off loopback, is
	// refused.
	HTTPClient *http.Client
	// Now is the clock; nil means time.Now. Timers use the real clock.
	Now func() time.Time
	// Logger is told when fetches begin to fail or recover, and when keys
	// change; nil discards.
	Logger *slog.Logger
	// Audit gets an event when the set of signing keys has changed. Default: none.
	Audit audit.Handler
	// MeterProvider makes the instruments of the provider's metrics. Default: none.
	MeterProvider metric.MeterProvider
	// TracerProvider makes the tracer of the spans of requests to the provider,
	// also through [Provider.Transport]. A request with a span tells the provider
	// the trace (W3C Trace Context). Default: none.
	TracerProvider trace.TracerProvider
}

// Validate returns what is wrong with the configuration, as joined errors that
// name field, value, problem and remedy; nil if nothing is. It contacts nothing.
func (cfg Config) Validate() error {
	err := origin.Invalid("Issuer", cfg.Issuer, cfg.checkIssuer())
	if cfg.InternalURL != "" {
		err = errors.Join(err, origin.Invalid("InternalURL", cfg.InternalURL, cfg.checkInternalURL()))
	}
	return errors.Join(err, cfg.checkKeySource())
}

// ownKeys reports whether the keys come from elsewhere than the metadata.
func (cfg Config) ownKeys() bool { return cfg.JWKSURL != "" || cfg.JWKSFile != "" }

// maxIssuer is the longest issuer identifier, in bytes.
const maxIssuer = 1024

func (cfg Config) checkKeySource() error {
	var errs []error
	other := "JWKSURL"
	if cfg.JWKSURL == "" {
		other = "JWKSFile"
	}
	if cfg.JWKSURL != "" {
		u, err := url.Parse(cfg.JWKSURL)
		if err != nil {
			err = errors.New("not a URL") // without the password that it may have
		} else {
			err = checkURL(u)
		}
		if err != nil {
			errs = append(errs, origin.Invalid("JWKSURL", cfg.JWKSURL,
				&origin.Error{Problem: strings.TrimSuffix(err.Error(), "; use https"), Remedy: "give the https address of the key set"}))
		}
	}
	if cfg.JWKSURL != "" && cfg.JWKSFile != "" {
		errs = append(errs, invalid.Field("JWKSFile", cfg.JWKSFile, "is set beside JWKSURL", "remove one of them"))
	}
	if cfg.ownKeys() && cfg.InternalURL != "" {
		errs = append(errs, invalid.Field("InternalURL", cfg.InternalURL, "has no effect with "+other, "remove it"))
	}
	for field, value := range map[string]string{"CAFile": cfg.CAFile, "BearerTokenFile": cfg.BearerTokenFile} {
		if value != "" && cfg.JWKSFile != "" {
			errs = append(errs, invalid.Field(field, value, "has no effect with JWKSFile", "remove it"))
		}
	}
	if cfg.CAFile != "" && cfg.HTTPClient != nil {
		errs = append(errs, invalid.Field("CAFile", cfg.CAFile, "has no effect with HTTPClient", "let the client trust the authorities, or remove it"))
	}
	return errors.Join(errs...)
}

func (cfg Config) checkIssuer() error {
	if cfg.ownKeys() {
		unprintable := func(r rune) bool { return r <= ' ' || r == 0x7f || r == utf8.RuneError }
		if cfg.Issuer == "" || len(cfg.Issuer) > maxIssuer || strings.ContainsFunc(cfg.Issuer, unprintable) {
			return &origin.Error{Problem: "is empty, too long, or has spaces", Remedy: `give the claim "iss" of the issuer's tokens`}
		}
		return nil
	}
	err := origin.Issuer(cfg.Issuer)
	if problem, ok := errors.AsType[*origin.Error](err); ok && problem.Remedy == "use https://" {
		return &origin.Error{Problem: problem.Problem, Remedy: problem.Remedy +
			"; if this is the provider's address inside a cluster, give its issuer here and this address as InternalURL"}
	}
	return err
}

func (cfg Config) checkInternalURL() error {
	u, err := origin.Upstream(cfg.InternalURL)
	switch {
	case err != nil:
		return err
	case u.User != nil:
		return &origin.Error{Problem: "has a user name or password in it", Remedy: "leave it out"}
	case strings.TrimSuffix(u.Path, "/") != "" || strings.ContainsAny(cfg.InternalURL, "?#"):
		return &origin.Error{Problem: "more than an origin",
			Remedy: "give scheme, host and port, such as https://keycloak.auth.svc:8443"}
	case u.Scheme == "http" && !loopback.Host(u.Hostname()) && !cfg.InsecureInternalHTTP:
		return &origin.Error{Problem: "http is for loopback only: the client's secret, codes and tokens would travel in the clear",
			Remedy: "use https, or set InsecureInternalHTTP where the network between is trusted"}
	}
	return nil
}
