package e2e

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A spanCollector takes spans by OTLP over HTTP.
type spanCollector struct {
	*httptest.Server
	mu    sync.Mutex
	raw   bytes.Buffer // everything that was sent
	spans []*span
}

// A span is one that was exported, with the service and the part that it is from.
type span struct {
	*tracepb.Span
	service, part string
}

func startSpanCollector(t *testing.T) *spanCollector {
	t.Helper()
	c := &spanCollector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collectorpb.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &request)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			http.Error(w, "unexpected", http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.raw.Write(body)
		for _, resource := range request.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				for _, s := range scope.GetSpans() {
					name := scope.GetScope().GetName()
					c.spans = append(c.spans, &span{s, value(resource.GetResource().GetAttributes(), "service.name"), name[strings.LastIndexByte(name, '/')+1:]})
				}
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func value(attrs []*commonpb.KeyValue, key string) string {
	for _, a := range attrs {
		if a.GetKey() != key {
			continue
		}
		if _, ok := a.GetValue().GetValue().(*commonpb.AnyValue_IntValue); ok {
			return fmt.Sprint(a.GetValue().GetIntValue())
		}
		return a.GetValue().GetStringValue()
	}
	return ""
}

// environment has the parts record every trace, and send it soon.
func (c *spanCollector) environment() []string {
	return []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=" + c.URL + "/v1/traces", "OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_TRACES_SAMPLER=parentbased_always_on"}
}

// all returns the spans so far.
func (c *spanCollector) all() []*span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// trees returns each trace as text: a line a span, indented below its parent, with the
// part, kind, name, and outcome.
func (c *spanCollector) trees() []string {
	children := map[string][]*span{}
	ids := map[string]bool{}
	all := c.all()
	for _, s := range all {
		ids[string(s.GetSpanId())] = true
	}
	for _, s := range all {
		parent := string(s.GetParentSpanId())
		if !ids[parent] {
			parent = ""
		}
		children[parent] = append(children[parent], s)
	}
	var out strings.Builder
	var write func(s *span, indent string)
	write = func(s *span, indent string) {
		kind := strings.ToLower(strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_"))
		outcome := value(s.GetAttributes(), "http.response.status_code") + value(s.GetAttributes(), "rpc.response.status_code") + value(s.GetAttributes(), "db.system.name")
		fmt.Fprintln(&out, strings.TrimSpace(indent+s.part+" "+kind+" "+s.GetName()+" "+outcome+strings.Repeat(" ERROR", int(s.GetStatus().GetCode())/2)))
		below := children[string(s.GetSpanId())]
		slices.SortFunc(below, func(a, b *span) int { return cmp.Compare(a.GetStartTimeUnixNano(), b.GetStartTimeUnixNano()) })
		for _, child := range below {
			write(child, indent+". ")
		}
	}
	var trees []string
	for _, s := range children[""] {
		out.Reset()
		write(s, "")
		trees = append(trees, out.String())
	}
	return trees
}

// wants waits for a trace that matches.
func (c *spanCollector) wants(t *testing.T, what, tree string) {
	t.Helper()
	pattern := regexp.MustCompile("^" + strings.TrimPrefix(tree, "\n") + "$")
	ok := false
	eventually(t, what, func() error {
		if ok = slices.ContainsFunc(c.trees(), pattern.MatchString); !ok {
			return fmt.Errorf("no such trace among:\n%s", strings.Join(c.trees(), "\n"))
		}
		return nil
	})
}

// TestTraces asserts the traces of a login, a call and a refresh, in one process and through
// three, and that they tell nothing of the user.
func TestTraces(t *testing.T) {
	t.Parallel()
	t.Run("one process", func(t *testing.T) { t.Parallel(); testTraces(t, false) })
	t.Run("three processes", func(t *testing.T) { t.Parallel(); testTraces(t, true) })
}

func testTraces(t *testing.T, apart bool) {
	const ttl = 3 * time.Second
	c, address := startSpanCollector(t), freeAddress(t)
	base := "http://localhost:" + portOf(address)
	gate, env, _ := startGated(t, base, ttl)
	secrets := slices.DeleteFunc(slices.Clone(env), func(pair string) bool { return !strings.Contains(pair, "SECRET") })
	env = append(env, c.environment()...)
	env = append(env, "GATEHOUSE_LISTEN_BFF="+address, "GATEHOUSE_DATABASE_URL=memory:")
	route := "/api/private-route"
	var bff *process
	if apart {
		route = `/api/\*` // the bff knows no more
		gateway, grpc, admin := freeAddress(t), freeAddress(t), freeAddress(t)
		gatehouse(t, append(env, "GATEHOUSE_LISTEN_GRPC="+grpc, "GATEHOUSE_LISTEN_ADMIN="+admin), "server").ready(t, "http://"+admin+"/readyz")
		gatehouse(t, append(env, "GATEHOUSE_LISTEN_GATEWAY="+gateway, "GATEHOUSE_GRPC_TARGET=dns:///"+grpc), "gateway").ready(t, "http://"+gateway+"/readyz")
		bff = gatehouse(t, append(env, "GATEHOUSE_GATEWAY_URL=http://"+gateway), "bff")
	} else {
		bff = gatehouse(t, append(env, "GATEHOUSE_LISTEN_GATEWAY=127.0.0.1:0", "GATEHOUSE_LISTEN_GRPC=127.0.0.1:0"), "serve")
	}
	bff.ready(t, base+"/readyz")

	v := entersAs(t, base, "seller")
	signedIn := time.Now()
	v.fetch(t, "/api/private-route").wants(t, http.StatusOK, "application/json")
	v.fetch(t, "/api/private-route?planted=planted-query").wants(t, http.StatusBadRequest, "application/json")
	me := v.fetch(t, "/api/auth/me").json(t)
	handles := regexp.MustCompile(`"handle":"([^"]+)"`).FindStringSubmatch(v.fetch(t, "/api/auth/sessions").body)
	eventually(t, "the access token runs out", func() error {
		if left := time.Until(signedIn.Add(ttl)); left > 0 {
			return fmt.Errorf("%v left", left)
		}
		return nil
	})
	v.fetch(t, "/api/private-route").wants(t, http.StatusOK, "application/json")

	call := `. bff client GET 200
. . gateway server GET /api/private-route 200
. . . gateway client audioarchive.v1.StatusService/GetPrivateRoute OK
. . . . server server audioarchive.v1.StatusService/GetPrivateRoute OK
`
	c.wants(t, "the start of a process", `
oidc client GET /.well-known/openid-configuration 200
`)
	c.wants(t, "the fetch of keys", `
oidc client GET /keys 200
`)
	c.wants(t, "a login", `
bff server GET /api/auth/login 303
. bff client count_note sessions sqlite
`)
	c.wants(t, "the end of a login", `
bff server GET /api/auth/callback 303
. bff client add_note sessions sqlite
. oidc client POST /oauth/token 200
. bff client create sessions sqlite
(?s:.*)`)
	c.wants(t, "a call", `
bff server GET `+route+` 200
. bff client get sessions sqlite
`+call)
	c.wants(t, "a refresh", `
bff server GET `+route+` 200
. bff client get sessions sqlite
. bff internal await refresh
. . bff internal refresh
. . . bff client lock sessions sqlite
. . . bff client get sessions sqlite
. . . oidc client POST /oauth/token 200
. . . bff client write sessions sqlite
`+call)
	c.wants(t, "a refused request", `
bff server GET `+route+` 400
. bff client get sessions sqlite
. bff client GET 400
. . gateway server GET /api/private-route 400
`)
	c.documented(t)

	// Nothing of the user, and nothing that opens anything.
	planted := map[string]string{"the query": "planted-query", "the access token": gate.lastAccess(t), "the handle of the session": handles[1]}
	for _, pair := range secrets {
		name, text, _ := strings.Cut(pair, "=")
		planted[name] = text
	}
	for _, claim := range []string{"sub", "name", "email", "nickname"} {
		if text, _ := me[claim].(string); text != "" {
			planted["the claim "+claim] = text
		}
	}
	for _, cookie := range v.client.Jar.Cookies(&url.URL{Scheme: "http", Host: "localhost:" + portOf(address), Path: "/"}) {
		planted["the cookie "+cookie.Name] = cookie.Value
	}
	for _, answer := range v.seen {
		for _, address := range []string{answer.url, answer.header.Get("Location")} {
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"code", "state", "nonce", "code_challenge"} {
				if text := u.Query().Get(name); text != "" {
					planted[name+" "+text] = text
				}
			}
		}
	}
	if len(planted) < 12 {
		t.Errorf("only these secrets are looked for: %v", slices.Sorted(maps.Keys(planted)))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for what, text := range planted {
		if bytes.Contains(c.raw.Bytes(), []byte(text)) {
			t.Errorf("the spans contain %s: %q", what, text)
		}
	}
}

// documented checks that docs/tracing.md has every attribute.
func (c *spanCollector) documented(t *testing.T) {
	t.Helper()
	document, err := os.ReadFile("../docs/tracing.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range c.all() {
		for _, a := range s.GetAttributes() {
			if !bytes.Contains(document, []byte("| `"+a.GetKey()+"` |")) {
				t.Errorf("docs/tracing.md lacks the attribute %s of %s", a.GetKey(), s.GetName())
			}
		}
	}
}
