package e2e

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/html"
)

// A visitor behaves like a browser towards a server: it keeps cookies, sends Sec-Fetch headers,
// follows redirects and submits forms. It records every response, so that a test can search them.
type visitor struct {
	client *http.Client
	page   answer // of the tab
	hold   string // navigate returns before it loads an address that begins with this, unless empty

	mu   sync.Mutex
	seen []answer
}

// An answer is a response with its request.
type answer struct {
	method, url string
	status      int
	header      http.Header
	body        string
}

func newVisitor(t *testing.T) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &visitor{client: &http.Client{
		Jar:           trustingJar{jar},
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// A trustingJar also accepts and sends Secure cookies on loopback without TLS, as browsers do.
// Keycloak relies on it.
type trustingJar struct{ http.CookieJar }

func (j trustingJar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.CookieJar.SetCookies(trusted(u), cookies)
}

func (j trustingJar) Cookies(u *url.URL) []*http.Cookie { return j.CookieJar.Cookies(trusted(u)) }

func trusted(u *url.URL) *url.URL {
	secure := *u
	if u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1" {
		secure.Scheme = "https"
	}
	return &secure
}

// open navigates to an address, as if typed.
func (v *visitor) open(t *testing.T, address string) answer {
	t.Helper()
	return v.navigate(t, http.MethodGet, address, nil, "")
}

// follow clicks on a link of the page, given by its address.
func (v *visitor) follow(t *testing.T, href string) answer {
	t.Helper()
	return v.navigate(t, http.MethodGet, resolve(t, v.page.url, href), nil, v.page.url)
}

// submit fills in the only form of the page and presses its button.
func (v *visitor) submit(t *testing.T, fields map[string]string) answer {
	t.Helper()
	method, action, values := formOf(t, v.page)
	for name, value := range fields {
		if !values.Has(name) {
			t.Fatalf("%s: the form has no field %q, but %v", v.page.url, name, values)
		}
		values.Set(name, value)
	}
	return v.navigate(t, method, resolve(t, v.page.url, action), values, v.page.url)
}

// navigate loads a page and follows redirects.
func (v *visitor) navigate(t *testing.T, method, address string, form url.Values, initiator string) answer {
	t.Helper()
	site := "none" // caused by the user, not by a page
	if initiator != "" {
		site = "same-origin"
	}
	for range 20 {
		if v.hold != "" && strings.HasPrefix(address, v.hold) {
			return answer{method: method, url: address}
		}
		if initiator != "" {
			site = farther(site, relation(t, initiator, address)) // a redirect never makes it closer again
		}
		h := http.Header{
			"Accept":                    {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
			"Sec-Fetch-Mode":            {"navigate"},
			"Sec-Fetch-Dest":            {"document"},
			"Sec-Fetch-Site":            {site},
			"Sec-Fetch-User":            {"?1"},
			"Upgrade-Insecure-Requests": {"1"},
		}
		var body io.Reader
		if method == http.MethodPost {
			h.Set("Origin", originOf(t, initiator))
			h.Set("Content-Type", "application/x-www-form-urlencoded")
			body = strings.NewReader(form.Encode())
		}
		got := v.send(t, method, address, h, body)
		if got.status < 300 || got.status > 399 {
			v.page = got
			return got
		}
		address = resolve(t, address, got.header.Get("Location"))
		if method == http.MethodPost && got.status != http.StatusTemporaryRedirect {
			method, form = http.MethodGet, nil
		}
	}
	t.Fatalf("%s: redirected without end", address)
	return answer{}
}

// fetch sends a request as a script of the page. It is safe for concurrent use.
func (v *visitor) fetch(t *testing.T, path string) answer {
	t.Helper()
	address := resolve(t, v.page.url, path)
	return v.send(t, http.MethodGet, address, http.Header{
		"Accept":         {"*/*"},
		"Sec-Fetch-Mode": {"cors"},
		"Sec-Fetch-Dest": {"empty"},
		"Sec-Fetch-Site": {relation(t, v.page.url, address)},
		"Referer":        {v.page.url},
	}, nil)
}

func (v *visitor) send(t *testing.T, method, address string, h http.Header, body io.Reader) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = h
	req.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36")
	resp, err := v.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	got := answer{method: method, url: address, status: resp.StatusCode, header: resp.Header, body: string(content)}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seen = append(v.seen, got)
	return got
}

// wants fails the test unless the answer has the status and, if given, the media type.
func (a answer) wants(t *testing.T, status int, mediaType string) answer {
	t.Helper()
	got, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	if a.status != status || mediaType != "" && got != mediaType {
		t.Fatalf("%s %s: got %d %s, want %d %s\n%s", a.method, a.url, a.status, got, status, mediaType, a.body)
	}
	return a
}

// json decodes a JSON object.
func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%s %s: no JSON object: %v\n%s", a.method, a.url, err, a.body)
	}
	return v
}

// formOf returns the only form of a page, with the button that submits it. Forms in a closed <details>
// do not count, such as that of the development provider for a user who is not in its list.
func formOf(t *testing.T, page answer) (method, action string, values url.Values) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page.body))
	if err != nil {
		t.Fatal(err)
	}
	forms := 0
	values = url.Values{}
	method = http.MethodGet
	for n := range root.Descendants() {
		if n.Type != html.ElementNode || folded(n) {
			continue
		}
		switch n.Data {
		case "form":
			forms++
			action = attribute(n, "action")
			if strings.EqualFold(attribute(n, "method"), "post") {
				method = http.MethodPost
			}
		case "input", "button":
			if name := attribute(n, "name"); name != "" {
				values.Set(name, attribute(n, "value"))
			}
		}
	}
	if forms != 1 {
		t.Fatalf("%s: %d forms, want one\n%s", page.url, forms, page.body)
	}
	return method, action, values
}

func folded(n *html.Node) bool {
	for around := range n.Ancestors() {
		if around.Data == "details" && !slices.ContainsFunc(around.Attr, func(a html.Attribute) bool { return a.Key == "open" }) {
			return true
		}
	}
	return false
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func resolve(t *testing.T, base, reference string) string {
	t.Helper()
	u, err := url.Parse(base)
	if err == nil {
		u, err = u.Parse(reference)
	}
	if err != nil {
		t.Fatal(err)
	}
	return u.String()
}

func originOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Scheme + "://" + u.Host
}

// relation returns the value of Sec-Fetch-Site for a request from one address to another. Different
// ports are different origins, but the same site.
func relation(t *testing.T, from, to string) string {
	t.Helper()
	a, b := originOf(t, from), originOf(t, to)
	if a == b {
		return "same-origin"
	}
	ua, _ := url.Parse(a)
	ub, _ := url.Parse(b)
	if ua.Scheme == ub.Scheme && ua.Hostname() == ub.Hostname() {
		return "same-site"
	}
	return "cross-site"
}

func farther(a, b string) string {
	for _, site := range []string{"cross-site", "same-site"} {
		if a == site || b == site {
			return site
		}
	}
	return a
}
