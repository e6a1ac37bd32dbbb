package metrics

import "slices"

// A Kind is how an instrument's values are read.
type Kind int

// The kinds.
const (
	KindCounter       Kind = iota // only grows: read its rate
	KindUpDownCounter             // a number of things; may be added over processes
	KindGauge                     // a state of one process; must not be added
	KindHistogram
)

var kindNames = [...]string{"counter", "up-down counter", "gauge", "histogram"}

func (k Kind) String() string { return kindNames[k] }

// An Instrument is a metric as it is declared: every metric of Gatehouse is in this file.
type Instrument struct {
	// Name is that of the OpenTelemetry semantic conventions, or begins with gatehouse.
	Name string
	Kind Kind
	// Unit is a UCUM unit: "s" for seconds, "{request}" for a number of requests.
	Unit, Description string
	// Parts are the parts that record it: bff, gateway, server, program.
	Parts      string
	Attributes []Attribute
	// Buckets are the upper bounds of a histogram.
	Buckets []float64
}

// An Attribute is a label. No label has a value that a client chooses: a Host, a path, a
// subject, a session.
type Attribute struct {
	Key, Description string
	// Values are all values. An attribute without Values has those of Description, whose
	// number is bounded by the configuration.
	Values []string
}

// Other is the value of an attribute for everything that has no value of its own.
const Other = "_OTHER"

// Keys of attributes.
const (
	KeyPart       = "gatehouse.part"
	KeyResult     = "gatehouse.result"
	KeyStream     = "gatehouse.stream"
	KeyRoute      = "http.route"
	KeyMethod     = "http.request.method"
	KeyStatus     = "http.response.status_code"
	KeyScheme     = "url.scheme"
	KeyError      = "error.type"
	KeyRPCSystem  = "rpc.system.name"
	KeyRPCMethod  = "rpc.method"
	KeyRPCStatus  = "rpc.response.status_code"
	KeyIssuer     = "gatehouse.issuer"
	KeyDependency = "gatehouse.dependency"
	KeyVersion    = "gatehouse.version"
	KeyCommit     = "gatehouse.commit"
	KeyGoVersion  = "go.version"
	KeyStreamKind = "gatehouse.stream.kind"
	KeyUpstream   = "gatehouse.upstream"
)

// The parts that another part calls, and the states of their addresses.
const (
	UpstreamServer   = "server"
	UpstreamGateway  = "gateway"
	UpstreamRoute    = "route"
	UpstreamReady    = "ready"
	UpstreamNew      = "new"
	UpstreamNotReady = "not_ready"
	UpstreamSilent   = "silent"
)

// Parts, as values of KeyPart.
const (
	PartBFF     = "bff"
	PartGateway = "gateway"
)

// The kinds of streams.
const (
	StreamSession   = "session_events" // /api/auth/events
	StreamWebSocket = "websocket"
	StreamEvents    = "events" // server-sent events
	StreamLines     = "lines"  // lines of JSON, and messages of Connect and gRPC-Web
	StreamRaw       = "raw"    // google.api.HttpBody
	StreamRPC       = "rpc"
)

// The outcomes of logins.
const (
	LoginCompleted   = "completed"
	LoginCancelled   = "cancelled"      // access_denied
	LoginRefused     = "refused"        // another error of the provider
	LoginUnavailable = "unavailable"    // no metadata, or the provider is busy
	LoginResponse    = "response"       // the browser brought no valid response
	LoginStale       = "stale"          // no attempt in this browser, or one that was used
	LoginSignedOut   = "signed_out"     // revoked meanwhile
	LoginStepUp      = "step_up"        // too old or too weak
	LoginProvider    = "provider"       // the provider's tokens are not valid
	LoginStore       = "store"          // the session store failed
	LoginInterrupted = "interrupted"    // the process that redeemed the code has ended
	LoginInternal    = "internal"       // a fault of the bff
	LoginApplication = "application"    // the application has refused it
	LoginNeedsUser   = "needs_the_user" // login_required and such, mostly of prompt=none
)

// The outcomes of refreshes.
const (
	RefreshOK        = "ok"
	RefreshOver      = "over"
	RefreshUser      = "user"
	RefreshTransient = "transient"
	RefreshOperator  = "operator"
	RefreshUnknown   = "unknown"
	RefreshMismatch  = "mismatch"
	RefreshHeldBack  = "held_back"
	RefreshElsewhere = "elsewhere"
	RefreshStore     = "store"
)

// The grants of route tokens, and the outcomes that refreshes do not have.
const (
	RouteClient   = "client"
	RouteRefresh  = "refresh"
	RouteExchange = "exchange"

	RouteOK        = RefreshOK
	RouteDiscarded = "discarded"
)

// The outcomes of waiting for a refresh.
const (
	WaitOK          = "ok"
	WaitEnded       = "ended"
	WaitUnavailable = "unavailable"
	WaitError       = "error"
)

// The outcomes of verifications of access tokens.
const (
	TokenOK          = "ok"
	TokenMalformed   = "malformed"
	TokenInvalid     = "invalid"
	TokenExpired     = "expired"
	TokenRevoked     = "revoked"
	TokenUnavailable = "unavailable"

	CacheHit  = "hit"
	CacheMiss = "miss"
)

// Fetches of the provider's documents.
const (
	DocumentMetadata = "metadata"
	DocumentKeys     = "keys"

	FetchOK          = "ok"
	FetchNotModified = "not_modified"
	FetchError       = "error"
)

// What became of a key id that the key set lacks.
const (
	KidFound        = "found"
	KidNotPublished = "not_published"
	KidBudget       = "budget"
	KidUnavailable  = "unavailable"
)

// Requests to the provider by the bff, and their results.
const (
	RequestCode     = "authorization_code"
	RequestRefresh  = "refresh_token"
	RequestPAR      = "pushed_authorization"
	RequestRevoke   = "revocation"
	RequestUserinfo = "userinfo"
	RequestClient   = "client_credentials"
	RequestExchange = "token_exchange"

	ProviderOK         = "ok"
	ProviderClient     = "client_refused" // invalid_client, unauthorized_client
	ProviderGrant      = "grant_refused"  // invalid_grant
	ProviderRefused    = "refused"        // another error code
	ProviderError      = "error"          // 408, 429, 5xx, or an answer that cannot be read
	ProviderNoResponse = "no_response"
)

// The limits.
const (
	LimitLoginRate = "login_rate"
	LimitCookies   = "cookies"
	LimitHeader    = "header"
	LimitStreams   = "session_streams"
	LimitArriving  = "arriving_requests"
	// LimitIntrospection is the budget of token introspection.
	LimitIntrospection = "introspection"
	// LimitConnections is counted when a port is full. It refuses none: they wait.
	LimitConnections = "connections"
)

// Exports of telemetry.
const (
	SignalMetrics = "metrics"
	SignalTraces  = "traces"

	ExportOK    = "ok"
	ExportError = "error"
)

// Results of storing audit events.
const (
	AuditOK    = "ok"
	AuditError = "error"
)

// AuditActions are the actions of audit events, as values of gatehouse.audit.action.
var AuditActions = []string{"sign_in", "sign_in_refused", "sign_out", "session_ended", "refresh_refused", "subject_revoked",
	"call_denied", "rate_limited", "key_set_changed", "setting_changed"}

// Results of calls of the session store.
const (
	StoreOK     = "ok"
	StoreAnswer = "answer"
	StoreError  = "error"
)

// Dependencies are what a process may depend on, as values of gatehouse.dependency.
var Dependencies = []string{"process", "provider", "session store", "denylist", "services", "server", "gateway", "client at the provider", "token introspection", "audit log", "log"}

// Certificates are the roles of certificates, as values of gatehouse.certificate.
var Certificates = []string{"bff", "gateway", "server", "admin", "client"}

// StoreOperations are the methods of a session store, as values of
// gatehouse.store.operation.
var StoreOperations = []string{"get", "create", "touch", "lock", "renew", "write", "unlock", "delete", "list",
	"delete_by_sid", "delete_by_subject", "list_by_subject", "delete_expired", "ready",
	"add_note", "put_note", "count_note", "get_note", "take_note", "due_notes"}

// Bounds of histograms: those that the semantic conventions prescribe, and finer ones for
// stores, whose answers often come from memory.
var (
	standardBuckets = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
	waitBuckets     = []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}
	storeBuckets    = []float64{0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}
)

// The attributes that several instruments have.
var (
	methodAttribute = Attribute{Key: KeyMethod, Description: "method of the request", Values: append(slices.Clip(methods), Other)}
	schemeAttribute = Attribute{Key: KeyScheme, Description: "scheme of the request, at the bff that of its base URL", Values: []string{"http", "https"}}
	partAttribute   = Attribute{Key: KeyPart, Description: "part that a client called; a part behind it in the same process does not count the request again", Values: []string{PartBFF, PartGateway}}
)

// The instruments.
var (
	HTTPServerRequestDuration = &Instrument{
		Name: "http.server.request.duration", Kind: KindHistogram, Unit: "s", Parts: "bff, gateway", Buckets: standardBuckets,
		Description: "Duration of HTTP requests, and by its count their number. A stream lasts as long as it is open.",
		Attributes: []Attribute{
			partAttribute, methodAttribute, schemeAttribute,
			{Key: KeyRoute, Description: "route template of the API (google.api.http), an address of the bff, or /api/* and /* for what is forwarded to an API or front end elsewhere; absent where nothing is served"},
			{Key: KeyStatus, Description: "status of the answer, such as 200; absent if the connection was cut before there was one"},
			{Key: KeyError, Description: "the status again if it is 500 or above; absent otherwise"},
			{Key: KeyStream, Description: "whether the answer is a stream: event streams, WebSockets, streaming methods", Values: []string{"false", "true"}},
		},
	}
	HTTPServerActiveRequests = &Instrument{
		Name: "http.server.active_requests", Kind: KindUpDownCounter, Unit: "{request}", Parts: "bff, gateway",
		Description: "HTTP requests in flight, open streams included.",
		Attributes:  []Attribute{partAttribute, methodAttribute, schemeAttribute},
	}
	RPCServerCallDuration = &Instrument{
		Name: "rpc.server.call.duration", Kind: KindHistogram, Unit: "s", Parts: "server", Buckets: standardBuckets,
		Description: "Duration of gRPC calls, over the network and in process, and by its count their number.",
		Attributes: []Attribute{
			{Key: KeyRPCSystem, Description: "RPC system", Values: []string{"grpc"}},
			{Key: KeyRPCMethod, Description: "full method name of a registered service; _OTHER for all others"},
			{Key: KeyRPCStatus, Description: "gRPC status code, such as OK or PERMISSION_DENIED"},
			{Key: KeyError, Description: "the code again if it is a failure of the server (UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS); absent otherwise"},
		},
	}
	StreamsOpen = &Instrument{
		Name: "gatehouse.streams.open", Kind: KindUpDownCounter, Unit: "{stream}", Parts: "bff, gateway, server",
		Description: "Open streams: session_events and websocket at the bff, events, lines and raw at the gateway, rpc at the server. A stream of the API counts at the gateway and at the server.",
		Attributes: []Attribute{
			{Key: KeyStreamKind, Description: "kind of stream", Values: []string{StreamSession, StreamWebSocket, StreamEvents, StreamLines, StreamRaw, StreamRPC}},
		},
	}

	UpstreamAddresses = &Instrument{
		Name: "gatehouse.upstream.addresses", Kind: KindGauge, Unit: "{address}", Parts: "bff, gateway",
		Description: "Addresses of another part: of servers at the gateway, of gateways at the bff, and of the servers of all its routes.",
		Attributes: []Attribute{
			{Key: KeyUpstream, Description: "the other part", Values: []string{UpstreamServer, UpstreamGateway, UpstreamRoute}},
			{Key: "gatehouse.upstream.state", Description: "result of the last probe", Values: []string{
				UpstreamReady, UpstreamNew, UpstreamNotReady, UpstreamSilent}},
		},
	}
	UpstreamEjections = &Instrument{
		Name: "gatehouse.upstream.ejections", Kind: KindCounter, Unit: "{ejection}", Parts: "bff, gateway",
		Description: "How often an address of another part was ready and then was not.",
		Attributes: []Attribute{
			{Key: KeyUpstream, Description: "the other part", Values: []string{UpstreamServer, UpstreamGateway, UpstreamRoute}},
			{Key: "gatehouse.upstream.state", Description: "result of the probe", Values: []string{UpstreamNotReady, UpstreamSilent}},
		},
	}

	LoginAttempts = &Instrument{
		Name: "gatehouse.login.attempts", Kind: KindCounter, Unit: "{login}", Parts: "bff",
		Description: "Logins that were sent to the provider. Users who do not return have no outcome.",
	}
	LoginOutcomes = &Instrument{
		Name: "gatehouse.login.outcomes", Kind: KindCounter, Unit: "{login}", Parts: "bff",
		Description: "Logins that have ended, by outcome.",
		Attributes: []Attribute{{Key: KeyResult, Description: "outcome", Values: []string{
			LoginCompleted, LoginCancelled, LoginRefused, LoginUnavailable, LoginResponse, LoginStale, LoginSignedOut,
			LoginStepUp, LoginProvider, LoginStore, LoginInterrupted, LoginInternal, LoginNeedsUser, LoginApplication,
		}}},
	}
	Refreshes = &Instrument{
		Name: "gatehouse.refreshes", Kind: KindCounter, Unit: "{refresh}", Parts: "bff",
		Description: "Refreshes of access tokens, by result.",
		Attributes: []Attribute{{Key: KeyResult, Description: "result; the classes of failures are those of docs/login.md", Values: []string{
			RefreshOK, RefreshOver, RefreshUser, RefreshTransient, RefreshOperator, RefreshUnknown, RefreshMismatch,
			RefreshHeldBack, RefreshElsewhere, RefreshStore,
		}}},
	}
	RouteTokens = &Instrument{
		Name: "gatehouse.route.tokens", Kind: KindCounter, Unit: "{request}", Parts: "bff",
		Description: "Requests for the tokens of routes, by grant and result.",
		Attributes: []Attribute{
			{Key: "gatehouse.grant", Description: "how the token is obtained", Values: []string{RouteClient, RouteRefresh, RouteExchange}},
			{Key: KeyResult, Description: "result; discarded is a token for another audience, over the end of the session, the other failures are the classes of docs/login.md", Values: []string{
				RouteOK, RouteDiscarded, RefreshOver, RefreshUser, RefreshTransient, RefreshOperator, RefreshUnknown, RefreshHeldBack, RefreshStore,
			}},
		},
	}
	RefreshWait = &Instrument{
		Name: "gatehouse.refresh.wait.duration", Kind: KindHistogram, Unit: "s", Parts: "bff", Buckets: waitBuckets,
		Description: "How long requests have waited for a refresh. Requests with a valid token do not wait.",
		Attributes:  []Attribute{{Key: KeyResult, Description: "what the request got", Values: []string{WaitOK, WaitEnded, WaitUnavailable, WaitError}}},
	}
	BreakerOpen = &Instrument{
		Name: "gatehouse.refresh.breaker.open", Kind: KindGauge, Parts: "bff",
		Description: "1 while the circuit breaker holds back refreshes because the provider's token endpoint fails.",
	}
	ProviderRequestDuration = &Instrument{
		Name: "gatehouse.provider.request.duration", Kind: KindHistogram, Unit: "s", Parts: "bff", Buckets: standardBuckets,
		Description: "Duration of the bff's requests to the provider as its client.",
		Attributes: []Attribute{
			{Key: "gatehouse.provider.request", Description: "what was requested", Values: []string{RequestCode, RequestRefresh, RequestPAR, RequestRevoke, RequestUserinfo, RequestClient, RequestExchange}},
			{Key: KeyResult, Description: "result; client_refused means a wrong secret, key or client", Values: []string{
				ProviderOK, ProviderClient, ProviderGrant, ProviderRefused, ProviderError, ProviderNoResponse}},
		},
	}

	SessionsStarted = &Instrument{
		Name: "gatehouse.sessions.started", Kind: KindCounter, Unit: "{session}", Parts: "bff",
		Description: "Sessions that this process has begun.",
	}
	SessionsEnded = &Instrument{
		Name: "gatehouse.sessions.ended", Kind: KindCounter, Unit: "{session}", Parts: "bff",
		Description: "Sessions that this process has ended, by cause. It counts those that expired unused when it removes them from the store; those that a store expires by itself (Redis) are not counted.",
		Attributes: []Attribute{{Key: "gatehouse.session.end", Description: "cause", Values: []string{
			"signed_out", "replaced", "elsewhere", "operator", "provider", "expired", "evicted", "unknown"}}},
	}
	StoreCallDuration = &Instrument{
		Name: "gatehouse.session.store.call.duration", Kind: KindHistogram, Unit: "s", Parts: "bff", Buckets: storeBuckets,
		Description: "Duration of calls of the session store. Most answers to get come from the memory of the process.",
		Attributes: []Attribute{
			{Key: "gatehouse.store.operation", Description: "method of the store", Values: StoreOperations},
			{Key: KeyResult, Description: "ok; answer for one such as not found or locked; error for an outage", Values: []string{StoreOK, StoreAnswer, StoreError}},
		},
	}
	FeedConnected = &Instrument{
		Name: "gatehouse.session.store.feed.connected", Kind: KindGauge, Parts: "bff",
		Description: "1 while the session store tells this process of sessions that others end. At 0 it asks the store about every open session, and caches none.",
	}
	FeedResyncs = &Instrument{
		Name: "gatehouse.session.store.feed.resyncs", Kind: KindCounter, Unit: "{resync}", Parts: "bff",
		Description: "How often the feed was established, or has lost events and read all watched sessions again.",
	}

	TokenVerifications = &Instrument{
		Name: "gatehouse.token.verifications", Kind: KindCounter, Unit: "{token}", Parts: "server",
		Description: "Verifications of access tokens.",
		Attributes: []Attribute{
			{Key: KeyResult, Description: "result; unavailable means that keys or the denylist are missing", Values: []string{
				TokenOK, TokenMalformed, TokenInvalid, TokenExpired, TokenRevoked, TokenUnavailable}},
			{Key: "gatehouse.cache", Description: "whether the token was verified before", Values: []string{CacheHit, CacheMiss}},
			{Key: KeyIssuer, Description: "configured issuer of the token; _OTHER if it has none of them, or cannot be read"},
		},
	}
	IntrospectionDuration = &Instrument{
		Name: "gatehouse.introspection.request.duration", Kind: KindHistogram, Unit: "s", Parts: "server", Buckets: standardBuckets,
		Description: "Duration of requests to the provider about opaque access tokens (RFC 7662).",
		Attributes: []Attribute{{Key: KeyResult, Description: "result; client_refused means a wrong secret, key or client; what is ok may say that the token is not active",
			Values: []string{ProviderOK, ProviderClient, ProviderError, ProviderNoResponse}}},
	}
	ProviderAvailable = &Instrument{
		Name: "gatehouse.provider.available", Kind: KindGauge, Parts: "bff, server",
		Description: "1 if the last fetch of the provider's metadata or keys has succeeded.",
		Attributes:  []Attribute{issuerAttribute},
	}
	KeySetAge = &Instrument{
		Name: "gatehouse.provider.keyset.age", Kind: KindGauge, Unit: "s", Parts: "bff, server",
		Description: "Time since the provider last confirmed the key set in use. After 24 hours the set is not used. Absent while there is none.",
		Attributes:  []Attribute{issuerAttribute},
	}
	ProviderFetches = &Instrument{
		Name: "gatehouse.provider.fetches", Kind: KindCounter, Unit: "{fetch}", Parts: "bff, server",
		Description: "Fetches of the provider's metadata and key set.",
		Attributes: []Attribute{
			{Key: "gatehouse.provider.document", Description: "what was fetched", Values: []string{DocumentMetadata, DocumentKeys}},
			{Key: KeyResult, Description: "result", Values: []string{FetchOK, FetchNotModified, FetchError}},
			issuerAttribute,
		},
	}
	UnknownKids = &Instrument{
		Name: "gatehouse.provider.unknown_kids", Kind: KindCounter, Unit: "{token}", Parts: "bff, server",
		Description: "Tokens whose key id is not in the key set.",
		Attributes: []Attribute{{Key: KeyResult, Description: "found by a fetch, not published by the provider, no fetch left in the budget, or unavailable", Values: []string{
			KidFound, KidNotPublished, KidBudget, KidUnavailable}}, issuerAttribute},
	}

	LimitRejections = &Instrument{
		Name: "gatehouse.limit.rejections", Kind: KindCounter, Unit: "{request}", Parts: "bff, gateway, server, program",
		Description: "Requests that a limit has refused.",
		Attributes: []Attribute{{Key: "gatehouse.limit", Description: "logins of one address; size of cookies; size of other headers; event streams of a session, a user or all; memory for, and number of, requests that have not arrived completely or are not authenticated yet; token introspection; connections of a port (counted when it has them all: further ones wait)", Values: []string{
			LimitLoginRate, LimitCookies, LimitHeader, LimitStreams, LimitArriving, LimitIntrospection, LimitConnections}}},
	}

	AuditEvents = &Instrument{
		Name: "gatehouse.audit.events", Kind: KindCounter, Unit: "{event}", Parts: "bff, server, program",
		Description: "Events of the audit log. Those with the result error are lost, at least for one of the handlers.",
		Attributes: []Attribute{
			{Key: "gatehouse.audit.action", Description: "what the event reports", Values: AuditActions},
			{Key: KeyResult, Description: "whether it was stored", Values: []string{AuditOK, AuditError}},
		},
	}

	Ready = &Instrument{
		Name: "gatehouse.ready", Kind: KindGauge, Parts: "program",
		Description: "1 if the process is ready, as /readyz of the admin port answers.",
	}
	DependencyReady = &Instrument{
		Name: "gatehouse.dependency.ready", Kind: KindGauge, Parts: "program",
		Description: "1 if a dependency of the process works. A process is ready without some of them.",
		Attributes:  []Attribute{{Key: KeyDependency, Description: "name at /readyz of the admin port; further issuers are there as issuer and their identifier", Values: Dependencies}},
	}
	CertificateExpiry = &Instrument{
		Name: "gatehouse.tls.certificate.expiry.timestamp", Kind: KindGauge, Unit: "s", Parts: "program",
		Description: "When the certificate in use expires, in seconds since 1970.",
		Attributes:  []Attribute{{Key: "gatehouse.certificate", Description: "listener that has it, or client for calls of other parts", Values: Certificates}},
	}
	BuildInfo = &Instrument{
		Name: "gatehouse.build.info", Kind: KindGauge, Parts: "program",
		Description: "1, with the build in its labels.",
		Attributes: []Attribute{
			{Key: KeyVersion, Description: "version of the main module"},
			{Key: KeyCommit, Description: "commit that was built; unknown without one"},
			{Key: KeyGoVersion, Description: "version of Go"},
		},
	}
	TelemetryExports = &Instrument{
		Name: "gatehouse.telemetry.exports", Kind: KindCounter, Unit: "{export}", Parts: "program",
		Description: "Exports over OTLP.",
		Attributes: []Attribute{
			{Key: "gatehouse.signal", Description: "what was sent", Values: []string{SignalMetrics, SignalTraces}},
			{Key: KeyResult, Description: "result", Values: []string{ExportOK, ExportError}},
		},
	}
)

// issuerAttribute is the label of an oidc.Provider, of which a server may have several.
var issuerAttribute = Attribute{Key: KeyIssuer, Description: "configured issuer"}

// All has every instrument, in the order of the reference.
var All = []*Instrument{
	HTTPServerRequestDuration, HTTPServerActiveRequests, RPCServerCallDuration, StreamsOpen, LimitRejections,
	UpstreamAddresses, UpstreamEjections,
	LoginAttempts, LoginOutcomes, SessionsStarted, SessionsEnded,
	Refreshes, RouteTokens, RefreshWait, BreakerOpen, ProviderRequestDuration,
	StoreCallDuration, FeedConnected, FeedResyncs,
	TokenVerifications, IntrospectionDuration, ProviderAvailable, KeySetAge, ProviderFetches, UnknownKids, AuditEvents,
	Ready, DependencyReady, CertificateExpiry, BuildInfo, TelemetryExports,
}
