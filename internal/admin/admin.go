// Package admin owns the administration port: health, readiness with its causes,
// metrics, and diagnosis of a running process. It leaves what a process depends
// on, and which metrics and settings it has, to the program.
//
// The port is for operators and their tools. It asks for no credential, so it is
// off by default and belongs on loopback or a private network.
//
//	/healthz          200 while the process runs
//	/readyz           200 or 503, and the state of every dependency
//	/metrics          metrics
//	/debug/config     the settings, secrets masked, and the source of each
//	/debug/log-level  the log level; POST changes it
//	/debug/pprof/     profiles
//
// The paths below /debug exist only with Config.Debug.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/hostcheck"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/settings"
	"github.com/gatehouse-dev/gatehouse/internal/throttle"
)

// Config describes an administration port.
type Config struct {
	// Readiness has the dependencies of the process. Required.
	Readiness *Readiness
	// Metrics answers /metrics; nil for none.
	Metrics http.Handler
	// Debug serves the paths below /debug.
	Debug bool
	// Settings are shown at /debug/config.
	Settings []settings.Shown
	// Level is the log level; its value at New is the configured one. Required
	// with Debug.
	Level *slog.LevelVar
	// Changed, if not nil, is called after a change at run time. It is called
	// concurrently.
	Changed func(context.Context, Change)
	// AllowedHosts are names by which the port may be reached, besides loopback
	// names and addresses. A page of another site can make a name of its own
	// resolve to this machine (DNS rebinding), but not an address.
	AllowedHosts []string
	// Logger is nil for none.
	Logger *slog.Logger
}

// A Change is a change of a setting at run time.
type Change struct {
	Setting, From, To string
	// Until is when the configured value returns; zero for never.
	Until time.Time
	// Client is the address of the client; "" for the end of the change.
	Client string
}

// Limits of the port. Requests are small, and answers short, except profiles,
// which extend their deadline themselves.
const (
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = time.Minute
	maxHeaderBytes = 16 << 10
	maxBodyBytes   = 4 << 10
	// maxConcurrent bounds the requests that cost work, such as profiles. Health and
	// readiness are always answered.
	maxConcurrent = 16
	maxProfile    = 5 * time.Minute
)

// An Admin is an administration port.
type Admin struct {
	cfg      Config
	level    *level
	hosts    *hostcheck.Hosts
	slots    chan struct{}
	misled   *throttle.Log // requests for other hosts
	handler  http.Handler
	stopping context.Context
	stop     context.CancelFunc
}

// Validate reports every error of the configuration.
func (cfg Config) Validate() error {
	var errs []error
	for i, name := range cfg.AllowedHosts {
		if hostcheck.CheckName(name) != nil {
			errs = append(errs, invalid.Field(fmt.Sprintf("AllowedHosts[%d]", i), name,
				"is not a host name or address", "give one without scheme, port and wildcard, such as gatehouse-admin"))
		}
	}
	return errors.Join(errs...)
}

// New returns an administration port.
func New(cfg Config) (*Admin, error) {
	cfg.Logger = logs.Logger(cfg.Logger)
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	hosts, err := hostcheck.New("localhost", cfg.AllowedHosts)
	if err != nil {
		return nil, err
	}
	a := &Admin{cfg: cfg, hosts: hosts, slots: make(chan struct{}, maxConcurrent), misled: throttle.Every(time.Minute)}
	if cfg.Readiness == nil || cfg.Debug && cfg.Level == nil {
		return nil, errors.New("admin: Config.Readiness or Config.Level is missing")
	}
	a.stopping, a.stop = context.WithCancel(context.Background())
	a.handler = a.routes()
	return a, nil
}

// Handler returns the handler of the port.
func (a *Admin) Handler() http.Handler { return a.handler }

// Server returns a server for the port, with limits of its own. Its shutdown ends
// profiles that are being taken.
func (a *Admin) Server() *http.Server {
	srv := &http.Server{
		Handler:           a.handler,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(a.cfg.Logger.Handler(), slog.LevelDebug),
	}
	srv.RegisterOnShutdown(a.stop)
	return srv
}

func (a *Admin) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", a.readyz)
	var paths []string
	add := func(pattern string, h http.Handler) {
		mux.Handle(pattern, a.guarded(h))
		_, path, _ := strings.Cut(pattern, " ")
		if len(paths) == 0 || paths[len(paths)-1] != path {
			paths = append(paths, path)
		}
	}
	if a.cfg.Metrics != nil {
		add("GET /metrics", a.cfg.Metrics)
	}
	if a.cfg.Debug {
		a.level = newLevel(a.cfg)
		add("GET /debug/config", http.HandlerFunc(a.config))
		add("GET /debug/log-level", http.HandlerFunc(a.level.show))
		add("POST /debug/log-level", http.HandlerFunc(a.level.set))
		// Without cmdline, whose flags may be secrets.
		add("GET /debug/pprof/", a.timed(pprof.Index)) // with "seconds" too, for a difference
		add("GET /debug/pprof/cmdline", http.NotFoundHandler())
		add("GET /debug/pprof/profile", a.timed(pprof.Profile))
		add("GET /debug/pprof/symbol", http.HandlerFunc(pprof.Symbol))
		add("GET /debug/pprof/trace", a.timed(pprof.Trace))
	}
	mux.Handle("GET /{$}", a.guarded(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "/healthz\n/readyz")
		for _, path := range paths {
			if !strings.HasPrefix(path, "/debug/pprof/") || path == "/debug/pprof/" {
				fmt.Fprintln(w, path)
			}
		}
	})))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
		mux.ServeHTTP(w, r)
	})
}

// guarded refuses requests that a page of another site has made, and bounds their
// number.
func (a *Admin) guarded(next http.Handler) http.Handler {
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.knownHost(r.Host) {
			if ok, held := a.misled.Next(); ok {
				a.cfg.Logger.WarnContext(r.Context(), "request for an unknown host refused", "host", r.Host,
					"remedy", "if the admin port is meant to be reached by that name, add it to AllowedHosts", "suppressed", held)
			}
			http.Error(w, "the admin port answers to addresses, loopback names and allowed names only", http.StatusMisdirectedRequest)
			return
		}
		// A page could start a profile by a GET, although it could not read the answer.
		if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "none" && site != "same-origin" {
			http.Error(w, "cross-origin request refused", http.StatusForbidden)
			return
		}
		select {
		case a.slots <- struct{}{}:
			defer func() { <-a.slots }()
		default:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many requests at once", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	}))
}

// knownHost reports whether a Host is an address, a loopback name or an allowed
// name.
func (a *Admin) knownHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	_, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil || a.hosts.Allow(host)
}

// timed bounds the time of a profile, and ends it when the port is shut down.
func (a *Admin) timed(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if text := r.FormValue("seconds"); text != "" {
			seconds, err := strconv.ParseFloat(text, 64)
			if err != nil || !(seconds > 0 && seconds <= maxProfile.Seconds()) {
				http.Error(w, fmt.Sprintf("seconds %q: not a number of seconds up to %.0f", text, maxProfile.Seconds()), http.StatusBadRequest)
				return
			}
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(a.stopping, cancel)()
		next(w, r.WithContext(ctx))
	}
}

// readyz names every dependency. Load balancers may send any Host: with an unknown
// one the answer has no causes.
func (a *Admin) readyz(w http.ResponseWriter, r *http.Request) {
	report := a.cfg.Readiness.Report(r.Context())
	status := http.StatusOK
	if report.State == NotReady {
		status = http.StatusServiceUnavailable
	}
	if !a.knownHost(r.Host) {
		report.Dependencies = nil
	}
	if wantsJSON(r) {
		writeJSON(w, status, report)
		return
	}
	w.WriteHeader(status)
	fmt.Fprintln(w, report.State)
	for _, d := range report.Dependencies {
		fmt.Fprintf(w, "%s: %s since %s", d.Name, d.State, d.Since.Format(time.RFC3339))
		if d.Cause != "" {
			fmt.Fprintf(w, ": %s", d.Cause)
		}
		fmt.Fprintln(w)
	}
}

// config shows the settings.
func (a *Admin) config(w http.ResponseWriter, r *http.Request) {
	if wantsJSON(r) {
		writeJSON(w, http.StatusOK, map[string]any{"settings": a.cfg.Settings})
		return
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SETTING\tVALUE\tSOURCE")
	for _, s := range a.cfg.Settings {
		fmt.Fprintf(table, "%s\t%s\t%s\n", s.Name, oneLine(s.Value), oneLine(s.Source))
	}
	_ = table.Flush() // the client is gone
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// wantsJSON reports whether a client names JSON among the types that it accepts.
func wantsJSON(r *http.Request) bool {
	for _, header := range r.Header.Values("Accept") {
		for item := range strings.SplitSeq(header, ",") {
			if kind, _, err := mime.ParseMediaType(item); err == nil && kind == "application/json" {
				return true
			}
		}
	}
	return false
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(value) // the client is gone
}
