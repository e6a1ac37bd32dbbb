package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/gatehouse-dev/gatehouse/gateway"
	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/catalog"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
	"github.com/gatehouse-dev/gatehouse/internal/test/oidctest"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/server"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// A shop is the product service behind server and gateway.
type shop struct {
	rest   *gateway.Gateway
	issuer *tokentest.Issuer
}

const shopAudience = "https://api.test"

func newShop(t *testing.T) *shop {
	t.Helper()
	db, err := productdb.Open(t.Context(), productdb.Config{URL: "memory:"})
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{issuer: tokentest.NewUnserved(t, "https://issuer.test")}
	srv, err := server.New(server.Config{
		Authn: authn.Config{Provider: oidctest.NewProvider(t, s.issuer), Audience: shopAudience},
		Register: func(r grpc.ServiceRegistrar) {
			audioarchivev1.RegisterProductServiceServer(r, catalog.NewProducts(catalog.ProductsConfig{DB: db}))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Run(ctx) // ends with the context
	}()
	t.Cleanup(func() {
		stop()
		<-done
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	s.rest, err = gateway.New(gateway.Config{
		Conn:     srv.Conn(),
		Services: []gateway.Service{gateway.Expose(audioarchivev1.NewProductServiceClient, audioarchivev1.RegisterProductServiceHandlerClient, "audioarchive.v1.ProductService")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for srv.Ready() != nil { // calls wait for the keys; readiness requires them
		s.call("GET", "/api/my/products", "warm-up", "")
	}
	return s
}

func (s *shop) token(subject string, permissions ...string) string {
	return s.issuer.Mint(map[string]any{"sub": subject, "aud": shopAudience, "permissions": append([]string{}, permissions...)})
}

// call calls the API as a user with the permission to sell, or without a token for "". Header lines
// are "Name: value".
func (s *shop) call(method, target, subject, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if subject != "" {
		r.Header.Set("Authorization", "Bearer "+s.token(subject, "products:write"))
	}
	w := httptest.NewRecorder()
	s.rest.ServeHTTP(w, r)
	return w
}

// The same through the gateway, as a browser's script calls it.
func TestREST(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	body := `{"title":"Deep House","price":{"currencyCode":"EUR","amountMinor":"1999"},"daw":"DAW_REAPER"}`
	const uuid = "?request_id=0b1c6c7e-4a0e-4f8e-9a57-6f0d5f2c9a11"
	created := s.call("POST", "/api/products"+uuid, "sofia", body)
	var p audioarchivev1.Product
	if err := protojson.Unmarshal(created.Body.Bytes(), &p); created.Code != 200 || err != nil || !strings.HasPrefix(p.GetName(), "products/") {
		t.Fatalf("created: %d %s", created.Code, created.Body)
	}
	self := "/api/" + p.GetName()
	etag := url.QueryEscape(p.GetEtag())
	for _, tc := range []struct {
		name, method, target, who, body string
		status                          int
		contains                        string
	}{
		{"created again", "POST", "/api/products" + uuid, "sofia", body, 200, p.GetName()},
		{"get", "GET", self, "", "", 200, `"title":"Deep House"`},
		{"list", "GET", "/api/products?filter=daw%3DDAW_REAPER&order_by=title&page_size=1", "", "", 200, `"products":[{"name":"` + p.GetName()},
		{"list in camel case", "GET", "/api/products?orderBy=title&pageSize=1", "", "", 200, p.GetName()},
		{"mine", "GET", "/api/my/products", "sofia", "", 200, p.GetName()},
		{"mine, of another user", "GET", "/api/my/products", "sam", "", 200, `{"products":[],"nextPageToken":""}`},
		{"mine, without a token", "GET", "/api/my/products", "", "", 401, "TOKEN_MISSING"},
		{"create without a token", "POST", "/api/products", "", body, 401, "TOKEN_MISSING"},
		{"create nonsense", "POST", "/api/products", "sofia", `{"title":"","price":{"currencyCode":"EUR"},"daw":"DAW_REAPER"}`, 400, `"field":"product.title"`},
		{"change as another user", "PATCH", self, "sam", `{"title":"x"}`, 403, "NOT_SELLER"},
		{"change one field", "PATCH", self, "sofia", `{"title":"Deeper House"}`, 200, `"amountMinor":"1999"`},
		{"clear what is required", "PATCH", self, "sofia", `{"title":""}`, 400, `"field":"product.title"`},
		{"change with an old etag", "PATCH", self + "?etag=" + etag, "sofia", `{"title":"x"}`, 409, "ETAG_MISMATCH"},
		{"change with an old etag in the product", "PATCH", self, "sofia", `{"title":"x","etag":` + string(quoted(t, p.GetEtag())) + `}`, 409, "ETAG_MISMATCH"},
		{"a whole product read before, without its etag", "PATCH", self, "sofia", strings.Replace(created.Body.String(), `"etag":`+string(quoted(t, p.GetEtag())), `"etag":""`, 1), 200, `"title":"Deep House"`},
		{"delete with an old etag", "DELETE", self + "?etag=" + etag, "sofia", "", 409, "ETAG_MISMATCH"},
		{"delete as another user", "DELETE", self, "sam", "", 403, "NOT_SELLER"},
		{"delete", "DELETE", self, "sofia", "", 200, "{}"},
		{"delete again", "DELETE", self, "sofia", "", 404, "PRODUCT_NOT_FOUND"},
		{"get what is gone", "GET", self, "", "", 404, "PRODUCT_NOT_FOUND"},
		{"get nonsense", "GET", "/api/products/nonsense", "", "", 404, "PRODUCT_NOT_FOUND"},
		{"a filter that is none", "GET", "/api/products?filter=x", "", "", 400, `"field":"filter"`},
		{"watch without a token", "GET", "/api/products:watch", "", "", 401, "TOKEN_MISSING"},
		{"watch from nowhere", "GET", "/api/products:watch?resume_token=x", "sofia", "", 400, "RESUME_TOKEN_EXPIRED"},
	} {
		w := s.call(tc.method, tc.target, tc.who, tc.body)
		if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.contains) {
			t.Errorf("%s: %d %s, want %d with %s", tc.name, w.Code, w.Body, tc.status, tc.contains)
		}
	}
}

// Entity tags: of two clients that read the same state, the second to write is refused (RFC 9110
// §13.1.1), and a client that has the current state does not get it again.
func TestRESTConditions(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	created := s.call("POST", "/api/products", "sofia", `{"title":"Deep House","price":{"currencyCode":"EUR","amountMinor":"1999"},"daw":"DAW_REAPER"}`)
	var p audioarchivev1.Product
	if err := protojson.Unmarshal(created.Body.Bytes(), &p); created.Code != 200 || err != nil {
		t.Fatalf("created: %d %s", created.Code, created.Body)
	}
	self, tag := "/api/"+p.GetName(), created.Header().Get("ETag")
	if tag == "" || tag != p.GetEtag() {
		t.Fatalf("ETag is %q, the product's etag %q", tag, p.GetEtag())
	}
	for _, tc := range []struct {
		name, method, body, header string
		status                     int
		same                       bool // whether the entity tag stays the same
	}{
		{"read what one has", "GET", "", "If-None-Match: " + tag, 304, true},
		{"change what one knows", "PATCH", `{"title":"Deeper House"}`, "If-Match: " + tag, 200, false},
		{"change what one knew", "PATCH", `{"title":"x"}`, "If-Match: " + tag, 412, true},
		{"withdraw what one knew", "DELETE", "", "If-Match: " + tag, 412, true},
		{"read anew", "GET", "", "If-None-Match: " + tag, 200, true},
		{"change with any entity tag", "PATCH", `{"title":"Deepest House"}`, "If-Match: *", 200, false},
	} {
		before := s.call("GET", self, "", "").Header().Get("ETag")
		w := s.call(tc.method, self, "sofia", tc.body, tc.header)
		if w.Code != tc.status || w.Code == 304 && w.Body.Len() > 0 || w.Code == 412 && !strings.Contains(w.Body.String(), "ETAG_MISMATCH") {
			t.Errorf("%s: %d %s, want %d", tc.name, w.Code, w.Body, tc.status)
		}
		after := s.call("GET", self, "", "").Header().Get("ETag")
		if (before == after) != tc.same {
			t.Errorf("%s: the entity tag went from %s to %s", tc.name, before, after)
		}
	}
	now := s.call("GET", self, "", "").Header().Get("ETag")
	if w := s.call("DELETE", self, "sofia", "", "If-Match: "+now); w.Code != 200 {
		t.Errorf("delete with the current entity tag: %d %s", w.Code, w.Body)
	}
}

func quoted(t *testing.T, text string) []byte {
	t.Helper()
	b, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRESTWatch(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	front := httptest.NewServer(s.rest)
	t.Cleanup(front.Close)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, front.URL+"/api/products:watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.token("ben"))
	resp, err := front.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() || !strings.Contains(lines.Text(), "KIND_READY") || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %q", resp.StatusCode, lines.Text())
	}
	if w := s.call("POST", "/api/products", "sofia", `{"title":"News","price":{"currencyCode":"EUR","amountMinor":"1999"},"daw":"DAW_REAPER"}`); w.Code != 200 {
		t.Fatalf("created: %d %s", w.Code, w.Body)
	}
	if !lines.Scan() || !strings.Contains(lines.Text(), `"title":"News"`) || !strings.Contains(lines.Text(), `"resumeToken":"`) {
		t.Errorf("%q", lines.Text())
	}
}
