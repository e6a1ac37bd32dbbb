//go:build linux

package peers

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jwt"
	"github.com/maypok86/otter/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/bench/internal/proc"
	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/catalog"
)

const (
	jwxCaches = "the verified token, by its SHA-256 until it expires; the key set"
	jwxLogs   = "one JSON line a request (log/slog), each written at once; no metrics, no traces"
)

// jwxRow is what a team that knows these libraries writes by hand. Of what Gatehouse's gateway and
// server do it has the verification of tokens and a list of public methods; it has no revocation, no
// policies, no limits, no metrics and no traces.
func jwxRow() rows.Row {
	return rows.Row{
		Name: "grpc-gateway-jwx", Title: "grpc-gateway in process with jwx and a token cache", Product: "grpc-gateway", Credential: rows.Bearer,
		Caches: jwxCaches, Logs: jwxLogs,
		Start: func(ctx context.Context, e *rows.Env) (*rows.Target, error) {
			return startHandwritten(ctx, e, roleJWX, "github.com/grpc-ecosystem/grpc-gateway/v2", "github.com/lestrrat-go/jwx/v2")
		},
	}
}

const roleJWX = "jwx"

// startHandwritten starts a role that verifies tokens itself. Its versions are those of the modules.
func startHandwritten(ctx context.Context, e *rows.Env, role string, modules ...string) (*rows.Target, error) {
	provider, err := e.Provider(ctx, "http://127.0.0.1/unused")
	if err != nil {
		return nil, err
	}
	p, address, err := e.LaunchRole(ctx, role, provider.Issuer)
	if err != nil {
		return nil, err
	}
	tokens, err := e.Bearer(ctx, provider)
	return &rows.Target{Address: address, Processes: []*proc.Process{p}, Credentials: tokens, Versions: moduleVersions(modules)}, err
}

// moduleVersions returns the versions of modules that this program is built with.
func moduleVersions(paths []string) (versions []string) {
	build, _ := debug.ReadBuildInfo()
	for _, m := range build.Deps {
		if slices.Contains(paths, m.Path) {
			versions = append(versions, m.Path+" "+m.Version)
		}
	}
	return versions
}

// startAPI starts the server behind a login proxy, and returns its address. The token is in the
// header Authorization, or in another that the proxy sets.
func startAPI(ctx context.Context, e *rows.Env, provider *rows.Provider, header ...string) (p *proc.Process, address string, err error) {
	if p, address, err = e.LaunchRole(ctx, roleJWX, append([]string{provider.Issuer}, header...)...); err != nil {
		return nil, "", err
	}
	return p, address, guarded(ctx, address)
}

// serveJWX serves grpc-gateway over an in-process channel. The arguments are the issuer, and a header
// that has the access token instead of Authorization.
func serveJWX(ctx context.Context, address string, args []string) error {
	verifier, err := newVerifier(ctx, args[0])
	if err != nil {
		return err
	}
	channel := (&inprocgrpc.Channel{}).WithServerUnaryInterceptor(verifier.intercept)
	audioarchivev1.RegisterStatusServiceServer(channel, catalog.Status{})
	mux := runtime.NewServeMux()
	if err := audioarchivev1.RegisterStatusServiceHandlerClient(ctx, mux, audioarchivev1.NewStatusServiceClient(channel)); err != nil {
		return err
	}
	handler := http.Handler(mux)
	if len(args) > 1 {
		handler = tokenFrom(args[1], mux)
	}
	return rows.ListenAndServe(ctx, address, logRequests(handler))
}

// tokenFrom takes the token from a header of the proxy.
func tokenFrom(header string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Authorization")
		if token := r.Header.Get(header); token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		next.ServeHTTP(w, r)
	})
}

// A caller is what the service needs of a verified token.
type caller struct {
	subject string
	expires time.Time
}

type callerKey struct{}

type tokenHash [sha256.Size]byte

// A verifier verifies access tokens, and remembers those that passed until they expire.
type verifier struct {
	issuer   string
	keys     jwk.Set
	verified *otter.Cache[tokenHash, *caller]
}

func newVerifier(ctx context.Context, issuer string) (*verifier, error) {
	location := issuer + "/keys"
	keys := jwk.NewCache(ctx)
	if err := keys.Register(location, jwk.WithMinRefreshInterval(15*time.Minute)); err != nil {
		return nil, err
	}
	if _, err := keys.Refresh(ctx, location); err != nil {
		return nil, err
	}
	verified, err := otter.New(&otter.Options[tokenHash, *caller]{
		MaximumSize: 10_000,
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[tokenHash, *caller]) time.Duration {
			return time.Until(e.Value.expires)
		}),
	})
	if err != nil {
		return nil, err
	}
	return &verifier{issuer: issuer, keys: jwk.NewCachedSet(keys, location), verified: verified}, nil
}

// verify returns the caller of a token. The key decides the algorithm: jwx takes it from the key set
// unless it is told otherwise.
func (v *verifier) verify(token string) (*caller, error) {
	sum := tokenHash(sha256.Sum256([]byte(token)))
	if c, ok := v.verified.GetIfPresent(sum); ok {
		return c, nil
	}
	parsed, err := jwt.ParseString(token, jwt.WithKeySet(v.keys), jwt.WithIssuer(v.issuer), jwt.WithAudience(rows.Audience),
		jwt.WithRequiredClaim("exp"), jwt.WithRequiredClaim("sub"))
	if err != nil {
		return nil, err
	}
	c := &caller{subject: parsed.Subject(), expires: parsed.Expiration()}
	v.verified.Set(sum, c)
	return c, nil
}

// intercept requires a token of every method except those that are public.
func (v *verifier) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if info.FullMethod == audioarchivev1.StatusService_GetStatus_FullMethodName {
		return next(ctx, req)
	}
	var token string
	ok := false
	if values := metadata.ValueFromIncomingContext(ctx, "authorization"); len(values) == 1 {
		token, ok = strings.CutPrefix(values[0], "Bearer ")
	}
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "a bearer token is required")
	}
	c, err := v.verify(token)
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, "the token is invalid")
	}
	return next(context.WithValue(ctx, callerKey{}, c), req)
}

// logRequests writes a line for each request to standard error.
func logRequests(next http.Handler) http.Handler {
	logger := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		response := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(response, r)
		logger.LogAttrs(r.Context(), slog.LevelInfo, "request", slog.String("method", r.Method), slog.String("path", r.URL.Path),
			slog.Int("status", response.status), slog.Duration("duration", time.Since(began)), slog.String("remote", r.RemoteAddr),
			slog.String("user_agent", r.UserAgent()))
	})
}

// A statusWriter remembers the status of a response.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }
