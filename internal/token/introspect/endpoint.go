package introspect

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/clientauth"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
	"github.com/gatehouse-dev/gatehouse/internal/retryafter"
	"github.com/gatehouse-dev/gatehouse/internal/throttle"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

const (
	// callTimeout bounds one request.
	callTimeout = 5 * time.Second
	// maxResponse bounds a response, in bytes.
	maxResponse = 1 << 20
	// maxPause is the longest pause that a response can ask for.
	maxPause = time.Minute
	// refusedPause is the pause after the provider has refused the client: some providers
	// lock a client after many of them.
	refusedPause = 10 * time.Second
	// settle keeps single failures among successes from being outages of their own.
	settle = 5 * time.Second
)

// EndpointConfig configures an Endpoint. Provider, Setting and Logger are required.
type EndpointConfig struct {
	Provider *oidc.Provider
	// URL is the endpoint; "" for the one in the provider's metadata.
	URL string
	// Client authenticates.
	Client clientauth.Config
	// HTTPClient sends the requests; nil means one with http.DefaultTransport.
	HTTPClient *http.Client
	// Setting returns the name of the setting for "Endpoint", "Client.ID" and so on.
	Setting func(field string) string
	Now     func() time.Time
	Rand    io.Reader
	Logger  *slog.Logger
	// Requests measures the requests, nil for none.
	Requests *metrics.Histogram
}

// An Endpoint is the introspection endpoint of a provider. It is safe for concurrent use.
type Endpoint struct {
	cfg     EndpointConfig
	client  atomic.Pointer[clientauth.Client]
	http    *http.Client
	outage  *outage.Monitor
	refused atomic.Pointer[Refusal] // of the client; nil after a success
	logged  *throttle.Log           // refusals of the client
	others  *throttle.Log           // other refusals, which a token may cause
	pause   atomic.Int64            // Unix nanoseconds of its end
	slow    atomic.Int64            // as pause, for tokens that were not confirmed before
}

// A Refusal is a response that refuses the request and says nothing about the token.
type Refusal struct {
	Status     int
	Code       string // "error" (RFC 6749 §5.2), "" for none
	retryAfter time.Duration
	text       string
}

func (r *Refusal) Error() string { return r.text }

// Client reports whether the client is refused, not the token.
func (r *Refusal) Client() bool {
	return r.credential() || r.Status == http.StatusForbidden || r.Code == "unauthorized_client"
}

// credential reports whether the client's credential is refused.
func (r *Refusal) credential() bool {
	return r.Status == http.StatusUnauthorized || r.Code == "invalid_client"
}

// outage reports whether the provider may answer the next request.
func (r *Refusal) outage() bool {
	return r.Status < 400 || r.Status >= 500 || r.Status == http.StatusRequestTimeout || r.Status == http.StatusTooManyRequests
}

// NewEndpoint returns an Endpoint. It fails if the client's key cannot be read.
func NewEndpoint(cfg EndpointConfig) (*Endpoint, error) {
	e := &Endpoint{cfg: cfg, logged: throttle.Every(time.Minute), others: throttle.Every(time.Minute)}
	if err := e.SetCredential(cfg.Client.Secret, cfg.Client.Key); err != nil {
		return nil, err
	}
	var own http.Client
	if cfg.HTTPClient != nil {
		own = *cfg.HTTPClient
	}
	own.Transport = pooled(own.Transport)
	own.Timeout = 0 // each request has its own
	if cfg.URL == "" {
		own.Transport = cfg.Provider.Transport(own.Transport)
	} else {
		own.Transport = cfg.Provider.TracingTransport(own.Transport)
	}
	// A redirect would send token and credential elsewhere.
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	e.http = &own
	e.outage = outage.New(outage.Config{Name: "token introspection", Logger: cfg.Logger, Now: cfg.Now, Settle: settle})
	return e, nil
}

// pooled returns a transport that keeps as many connections as requests may be under way,
// by default two only. One of another kind is returned as it is.
func pooled(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	t, ok := base.(*http.Transport)
	if !ok {
		return base
	}
	t = t.Clone()
	t.MaxIdleConnsPerHost = 2 * connections
	return t
}

// SetCredential replaces the client's secret and key.
func (e *Endpoint) SetCredential(secret, key string) error {
	cfg := e.cfg.Client
	cfg.Secret, cfg.Key = secret, key
	client, err := clientauth.New(cfg, e.cfg.Now, e.cfg.Rand)
	if err != nil {
		return err
	}
	e.client.Store(client)
	e.refused.Store(nil) // that was the other one
	e.pause.Store(0)
	e.slow.Store(0)
	return nil
}

// Ready returns why opaque tokens cannot be verified at the moment, by the last request;
// nil if they can. The error names settings.
func (e *Endpoint) Ready() error {
	if refused := e.refused.Load(); refused != nil {
		return fmt.Errorf("the provider refuses client %s at the introspection endpoint: %w; correct %s",
			e.cfg.Client.ID, refused, e.credentialSetting())
	}
	if md, err := e.cfg.Provider.Metadata(); err == nil && e.cfg.URL == "" && md.IntrospectionEndpoint == "" {
		return e.missing()
	}
	return e.outage.Err()
}

func (e *Endpoint) missing() error {
	return fmt.Errorf("the provider's metadata has no introspection_endpoint; set %s to its URL", e.cfg.Setting("Endpoint"))
}

func (e *Endpoint) credentialSetting() string {
	if e.client.Load().UsesKey() {
		return e.cfg.Setting("Client.Key")
	}
	return e.cfg.Setting("Client.Secret")
}

// address returns the endpoint, and the metadata as the client's authentication needs
// them.
func (e *Endpoint) address(md *oidc.Metadata) (string, *oidc.Metadata, error) {
	adapted := *md
	if md.IntrospectionEndpointAuthMethodsSupported != nil {
		adapted.TokenEndpointAuthMethodsSupported = md.IntrospectionEndpointAuthMethodsSupported
	}
	if md.IntrospectionEndpointAuthSigningAlgValues != nil {
		adapted.TokenEndpointAuthSigningAlgValues = md.IntrospectionEndpointAuthSigningAlgValues
	}
	endpoint := cmp.Or(e.cfg.URL, md.IntrospectionEndpoint)
	if endpoint == "" {
		return "", nil, e.missing()
	}
	return endpoint, &adapted, nil
}

var errPaused = errors.New("the provider has asked for a pause, or refuses the client")

// Ask asks about a token. It returns a response with status 200 and a JSON content type.
// An error says nothing about the token. That the provider limits the requests for tokens
// that were not confirmed before, which may be a flood, holds back no others.
func (e *Endpoint) Ask(ctx context.Context, md *oidc.Metadata, raw string, confirmed bool) (string, error) {
	if now := e.cfg.Now().UnixNano(); now < e.pause.Load() || !confirmed && now < e.slow.Load() {
		return "", cmp.Or[error](e.Ready(), errPaused)
	}
	endpoint, md, err := e.address(md)
	if err != nil {
		return "", err
	}
	client := e.client.Load()
	body, err := e.post(ctx, client, md, endpoint, raw)
	refusal, refused := errors.AsType[*Refusal](err)
	switch {
	case refused && refusal.Client():
		if client != e.client.Load() {
			return "", err // that was the other one
		}
		if refusal.credential() { // anything else may be about this token
			e.hold(&e.pause, refusedPause)
		}
		e.refused.Store(refusal)
		if ok, _ := e.logged.Next(); ok {
			e.cfg.Logger.ErrorContext(ctx, "token introspection refused: opaque tokens cannot be verified", "setting", e.credentialSetting(),
				"remedy", "correct "+e.cfg.Setting("Client.ID")+" and its credential, or allow the client to introspect tokens there", "err", refusal)
		}
		return "", err
	case refused && !refusal.outage(): // something about this token
		if ok, _ := e.others.Next(); ok {
			e.cfg.Logger.WarnContext(ctx, "token introspection refused", "err", refusal)
		}
		return "", err
	case refused && refusal.retryAfter > 0:
		end := &e.pause
		if refusal.Status == http.StatusTooManyRequests && !confirmed {
			end = &e.slow
		}
		e.hold(end, min(refusal.retryAfter, maxPause))
	case err == nil:
		e.refused.Store(nil)
	}
	e.outage.Note(ctx, err)
	return body, err
}

func (e *Endpoint) hold(end *atomic.Int64, d time.Duration) { end.Store(e.cfg.Now().Add(d).UnixNano()) }

// post makes one request as client, and measures it.
func (e *Endpoint) post(ctx context.Context, client *clientauth.Client, md *oidc.Metadata, endpoint, raw string) (_ string, err error) {
	start, result := time.Now(), metrics.ProviderNoResponse
	defer func() { e.cfg.Requests.Since(ctx, start, result) }()
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, fmt.Errorf("no response within %v", callTimeout))
	defer cancel()
	form := url.Values{"token": {raw}, "token_type_hint": {"access_token"}}
	req, err := client.Request(ctx, md, endpoint, form)
	if err != nil {
		return "", err
	}
	resp, err := e.http.Do(req)
	if err != nil {
		return "", plain(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	if err != nil {
		return "", plain(ctx, err)
	}
	result = metrics.ProviderError
	if resp.StatusCode != http.StatusOK {
		refusal := refusalIn(resp, body, e.cfg.Now(), func(description string) string {
			return clientauth.WithoutCredentials(description, form, client.Secret, req.Header)
		})
		if refusal.Client() {
			result = metrics.ProviderClient
		}
		return "", refusal
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case len(body) > maxResponse:
		return "", fmt.Errorf("the introspection response is longer than %d bytes", maxResponse)
	case kind == "application/token-introspection+jwt":
		return "", errors.New("the introspection response is signed (RFC 9701), which is not supported: turn that off for this client at the provider")
	case kind != "application/json":
		return "", fmt.Errorf("the introspection response has the content type %.64q, not application/json", kind)
	}
	result = metrics.ProviderOK
	return string(body), nil
}

// refusalIn returns the error in a response whose status is not 200.
func refusalIn(resp *http.Response, body []byte, now time.Time, redact func(string) string) *Refusal {
	var response struct {
		Error       any `json:"error"`
		Description any `json:"error_description"`
	}
	_ = json.Unmarshal(body, &response) // a body of another form has no code
	code, _ := response.Error.(string)
	description, _ := response.Description.(string)
	r := &Refusal{Status: resp.StatusCode, Code: clientauth.ErrorCode(code), retryAfter: retryafter.Parse(resp.Header, now)}
	r.text = fmt.Sprintf("the introspection endpoint answers with status %d", r.Status)
	switch {
	case r.Code != "":
		r.text = fmt.Sprintf("the introspection endpoint answers %s (status %d)", r.Code, r.Status)
	case r.Status >= 300 && r.Status < 400:
		r.text += "; redirects are not followed"
	}
	if description = redact(description); description != "" {
		r.text += fmt.Sprintf(": %q", description)
	}
	return r
}

// plain returns an error without the URL, which may have been configured with a secret in
// it, and with the cause of a context that has ended.
func plain(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = fmt.Errorf("introspection endpoint: %w", e.Err)
	}
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
		return fmt.Errorf("introspection endpoint: %w", cause)
	}
	return err
}
