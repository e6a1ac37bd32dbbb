package gateway_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// FuzzRPC checks that a request for the path of a method calls that method if it is
// a call in one of the protocols, and otherwise no method.
func FuzzRPC(f *testing.F) {
	const one = `{"id":"1"}`
	for _, seed := range []struct{ method, query, mediaType, version, body string }{
		{"POST", "", "application/json", "1", one},
		{"POST", "", "application/json; charset=utf-8", "1", one},
		{"POST", "", "application/proto", "1", "\n\x011"},
		{"POST", "", "application/json", "", one},
		{"POST", "", "text/plain", "1", one},
		{"POST", "", "application/grpc-web+json", "", envelope(0, one)},
		{"POST", "", "application/grpc-web+proto", "", envelope(1, zipped("\n\x011"))},
		{"POST", "", "application/connect+json", "1", envelope(0, one)},
		{"POST", "", "application/grpc", "", envelope(0, "")},
		{"POST", "", "application/grpc-web", "", "\x00\xff\xff\xff\xff"},
		{"GET", "connect=v1&encoding=json&message=" + url.QueryEscape(one), "", "", ""},
		{"GET", "connect=v1&encoding=proto&base64=1&compression=gzip&message=" + b64url(zipped("\n\x011")), "", "", ""},
		{"GET", "connect=v1&encoding=json&message=%ff&message=1", "", "", ""},
		{"GET", "connect=v1&encoding=proto&base64=1&message=0", "", "", ""},
		{"GET", "connect=v1;connect=v1", "", "", ""},
		{"PUT", "", "application/json", "1", one},
	} {
		f.Add(seed.method, seed.query, seed.mediaType, seed.version, []byte(seed.body))
	}
	d := &direct{}
	g := over(f, gateway.Config{}, d) // shared: inputs are fuzzed one by one
	f.Fuzz(func(t *testing.T, method, query, mediaType, version string, body []byte) {
		r := &http.Request{
			Method: method, URL: &url.URL{Path: things + "/GetThing", RawQuery: query}, Header: http.Header{},
			Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
		}
		for name, value := range map[string]string{"Content-Type": mediaType, "Connect-Protocol-Version": version} {
			if value != "" {
				r.Header[name] = []string{value}
			}
		}
		*d = direct{}
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Fatalf("%s ?%s, %q: got %d %s, want less than 500", method, query, mediaType, w.Code, w.Body)
		}
		if d.request == nil {
			return
		}
		said, _, _ := strings.Cut(strings.ToLower(mediaType), ";")
		said = strings.TrimSpace(said)
		web := strings.HasPrefix(said, "application/grpc-web")
		switch {
		case d.rpc != "/"+thingService+"/GetThing":
			t.Errorf("called %s", d.rpc)
		case method == "GET" && r.URL.Query().Get("connect") == "v1":
		case method == "HEAD" && r.URL.Query().Get("connect") == "v1":
		case method == "POST" && (web || (said == "application/json" || said == "application/proto") && version == "1"):
		default:
			t.Errorf("%s ?%s, %q, version %q called the method", method, query, mediaType, version)
		}
	})
}
