package protect_test

import (
	"bufio"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff/internal/protect"
)

func rules(t testing.TB, cfg protect.Config) *protect.Rules {
	t.Helper()
	cfg.Host = "localhost:3000"
	r, err := protect.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// target parses a request target as net/http does.
func target(t testing.TB, text string) *url.URL {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + text + " HTTP/1.1\r\nHost: localhost:3000\r\n\r\n")))
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return r.URL
}

// A pattern of Protect covers the page in any spelling, with extensions, and all
// paths below it.
func TestProtect(t *testing.T) {
	t.Parallel()
	for pattern, paths := range map[string]struct{ covers, leaves []string }{
		"/private": {
			[]string{"/private", "/private/", "/PRIVATE", "/Private/", "/private;v=1", "/private.data", "/private.DATA", "/private.rsc", "/private.json", "/private.txt", "/private.html", "/private.html.gz",
				"/private.segments/_tree.segment.rsc", "/private.", "/private%20", "/private%23x", "/private%3Fx", "/private%ff", "/private::$DATA", "/private/a", "/private/__data.json", "/private/_payload.json",
				"/private/__next._tree.txt", "/private/index.txt", "/private.js", "/%70rivate%2edata",
				"/_next/data/build/private.json", "/_next/data/build/Private/a.json", "/docs/_next/data/build/private.json", "/_ipx/w_64/private/photo.png", "/_ipx/_/private/photo.png", "/cdn-cgi/image/width=80/private/photo.png", "/_ipx/w_64/_nuxt/private/a.png",
				"/_next/image?url=%2Fprivate%2Fa.png&w=64&q=75", "/_next/image?url=/private/secret.png%23;&w=64&q=75", "/_next/image?url=/public.png%ZZ", "/_next/image?url=/a.png;", "/_next/image?url=%252Fprivate%252Fa.png",
				"/_next/image?url=/x/../private/a.png", "/_next/image?url=/x/.%2e/private/a.png", "/_next/image?url=%5Cprivate%5Ca.png", "/_next/image?url=/pri%09vate/a.png", "/_next/image?url=private/a.png", "/_next/image?href=/private/a.png", "/_next/image?/private/a.png", "/_next/image?url[]=/private/a.png",
				"/_next/image?url=http://localhost:3000/private/a.png", "/_next/image?url=http://127.0.0.1:3100/private/a.png", "/_next/image?url=https://cdn.example@localhost/private/a.png", `/_next/image?url=https:\\localhost\private\a.png`, "/_next/image?url=//cdn.example/private/a.png",
				"/_vercel/image?url=/private/a.png", "/_image?href=%2Fprivate%2Fa.png&w=64", "/.netlify/images?url=/private/a.png", "/docs/_next/image?url=/private/a.png", "/__nuxt_error?url=/private", "/__nuxt_island/Card.json?props=%7B%22path%22%3A%22%2Fprivate%2Fx%22%7D"},
			[]string{"/", "/privateer", "/privateer.data", "/private-policy", "/private_notes", "/privat%C3%A9", "/public", "/a/private", "/public?url=/private", "/public?x=%ZZ;",
				"/_next/static/chunks/app/private/page.js", "/docs/_next/static/private.js", "/_app/immutable/nodes/private.js", "/_nuxt/private.js", "/_next/image?url=%2Flogo.png&w=64&q=75", "/_next/image?url=https://cdn.example/private/a.png&w=64", "/_next/image?url=https%3A%2F%2Fcdn.example%2Fprivate%2Fa.png",
				"/__manifest?paths=%2Fabout%2C%2Fprivate&version=1", "/_root.data", "/__data.json", "/_payload.json", "/index.html", "/_next/data/build/index.json"},
		},
		"/private/:path*":          {[]string{"/private", "/private.data", "/private/a/b/c", "/PRIVATE/a", "/private;x/a"}, []string{"/", "/privateer", "/public/private"}},
		"/orders/:id":              {[]string{"/orders/5", "/orders/5/", "/orders/5.data", "/orders/5/lines", "/orders/5/__data.json"}, []string{"/orders", "/orders/", "/orders.data"}},
		"/orders/:id/lines/:line?": {[]string{"/orders/5/lines", "/orders/5/lines/1", "/orders/5/lines/1/x"}, []string{"/orders/5"}},
		"/a/:rest+":                {[]string{"/a/b", "/a/b/c"}, []string{"/a", "/a/"}},
		"/:path*":                  {[]string{"/", "/a", "/a/b"}, nil},
		"/robots.txt":              {[]string{"/robots.txt", "/robots.txt.gz", "/Robots.TXT"}, []string{"/robots", "/robots.html"}},
		"/": {
			[]string{"/", "/index.html", "/index.txt", "/index.rsc", "/index.segments/_tree.segment.rsc", "/_root.data", "/_.data", "/_.rsc", "/__data.json", "/_payload.json", "/__next._tree.txt", "/_next/data/build/index.json", "/_next/image?url=/"},
			[]string{"/a", "/favicon.ico", "/_next/static/a.js", "/indexes", "/a.data", "/_next/image?url=/a.png&w=64", "/_next/image?url=&w=64"},
		},
		// Characters that a case-insensitive file system folds to ASCII.
		"/secrets/keys": {[]string{"/%C5%BFecrets/%E2%84%AAeys", "/%C5%BFecrets/%E2%84%AAeys.txt"}, []string{"/ecrets/keys"}},
	} {
		r := rules(t, protect.Config{Protect: []string{pattern}})
		for i, list := range [][]string{paths.covers, paths.leaves} {
			for _, text := range list {
				if got := r.NeedsLogin(target(t, text)); got != (i == 0) {
					t.Errorf("%s covers %s: %t", pattern, text, got)
				}
			}
		}
	}
}

// With public paths all others need a login, also those that a server may
// interpret as another path.
func TestPublic(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		patterns     []string
		open, closed []string
	}{
		{[]string{}, nil, []string{"/", "/a", "/_next/static/a.js", "/favicon.ico"}},
		{[]string{"/"}, []string{"/"}, []string{"/a", "/_root.data", "/__data.json", "/index.html", "/;"}},
		{[]string{"/about", "/_next/static/:path*", "/favicon.ico", "/_next/image", "/img/:path+"},
			[]string{"/about", "/about/", "/about?x=%ZZ;", "/_next/static/chunks/_a.js", "/favicon.ico", "/img/a.png", "/_next/image?url=%2Fimg%2Fa.png&w=64&q=75", "/_next/image?url=https%3A%2F%2Fcdn.example%2Fa.png&w=64&q=75", "/_next/image", "/_next/static/a.js?v=1;2"},
			[]string{"/", "/About", "/ABOUT", "/about;x", "/about.data", "/about.html", "/about/a", "/about%3Fx", "/about%23", "/about.", "/about%20", "/aboutus", "/img", "/img/__data.json", "/img/index.html", "/private", "/private.data", "/FAVICON.ico",
				"/_next/image?url=%2Fprivate%2Fa.png&w=64&q=75", "/_next/image?url=/img/a.png%23;&w=64", "/_next/image?url=/img/a.png&url=/private/a.png", "/_next/image?url=/img/../private/a.png", "/_next/image?url=/img/%252e%252e/private/a.png", "/_next/image?url=img/a.png",
				"/_next/image?url=//cdn.example/a.png", "/_next/image?url=http://localhost:3000/img/a.png", "/_next/image?url=http://10.0.0.5/a.png", `/_next/image?url=/img\..\private\a.png`, "/_next/image?url=/img/%2fprivate", "/_next/image?url=/_next/image%3Furl=/private/a.png", "/_next/image?url=/img/a.png;x", "/_next/image?url=/IMG/a.png",
				"/_next/data/build/about.json", "/_next/image/x?url=/private/a.png"},
		},
		// The posts are public, their list and its data are not.
		{[]string{"/blog/:slug"}, []string{"/blog/a", "/blog/a.data"}, []string{"/blog", "/blog.data", "/blog/__data.json", "/blog/_payload.json", "/blog/_.data", "/blog/index.txt", "/blog/index.html", "/blog/a/__data.json", "/blog/a/b"}},
		{[]string{"/blog/:path*"}, []string{"/blog", "/blog/", "/blog/__data.json", "/blog/a/__data.json", "/blog/__data.json?q=a.b", "/blog/__data.json?q=a/b&x=1"}, []string{"/blog.data", "/blog/__data.json?q=;", "/blog/__data.json?url=/private", "/blog/__data.json?url=%5Cprivate"}},
		{[]string{"/:lang/about"}, []string{"/en/about"}, []string{"/_next/about", "/about", "/@x/about"}},
		{[]string{"/_ipx/:path*", "/img/:path*"}, []string{"/_ipx/w_64/img/a.png"}, []string{"/_ipx/w_64/private/a.png", "/_ipx/w_64/a.png", "/_ipx/w_64/http:/localhost/img/a.png", "/_ipx/w_64", "/_ipx/w_64/img/a.png?x=/private"}},
		{[]string{"/__manifest"}, []string{"/__manifest?paths=%2Fabout%2C%2Fprivate&version=1"}, []string{"/__manifest/x"}},
		{[]string{"/:path*"}, []string{"/", "/a", "/a/b", "/_next/static/x", "/__data.json"}, []string{"/a;b"}},
	} {
		r := rules(t, protect.Config{Public: c.patterns})
		for i, list := range [][]string{c.open, c.closed} {
			for _, text := range list {
				u := target(t, text)
				if !protect.Canonical(u) || protect.EncodedSlash(u) {
					continue // refused by the frontend
				}
				if got := r.NeedsLogin(u); got != (i == 1) {
					t.Errorf("public %q, %s: needs a login: %t", c.patterns, text, got)
				}
			}
		}
	}
}

func TestBothLists(t *testing.T) {
	t.Parallel()
	for _, cfg := range []protect.Config{{Protect: []string{"/a"}, Public: []string{"/b"}}, {Protect: []string{}, Public: []string{}}} {
		if _, err := protect.New(cfg); err == nil || !strings.Contains(err.Error(), "drop one") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	_, err := protect.New(protect.Config{Public: []string{"/a", "b", "/c?d"}})
	if err == nil || !strings.Contains(err.Error(), `public paths: pattern "b"`) || !strings.Contains(err.Error(), `"/c?d"`) {
		t.Errorf("got %v, want both patterns named", err)
	}
}

// A pattern protects a path in upper and lower case, with a slash, an extension
// or parameters at the end, and the paths below; and it protects whatever it
// makes public.
func FuzzPatterns(f *testing.F) {
	for _, pattern := range []string{"/private/:path*", "/orders/:id", "/", "/a/:b?", "/a/:b+", "/private?x", "//", "/:a*/b", "/\u017f", "/a.b"} {
		for _, path := range []string{"/private", "/orders/5/", "/a/b/c", "/", "/PRIVATE;x", "/\xff", "/a.b.c", "/_next/image"} {
			f.Add(pattern, path)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, path string) {
		err := protect.CheckPattern(pattern)
		if err != nil {
			if strings.HasPrefix(pattern, "/") && strings.Trim(pattern[1:], "abcdefghijklmnopqrstuvwxyz") == "" {
				t.Fatalf("%q was refused: %v", pattern, err)
			}
			return
		}
		if strings.ContainsAny(pattern, "#%()[]{}|^$; \\") {
			t.Fatalf("%q was accepted", pattern)
		}
		u := &url.URL{Path: path}
		if !protect.Canonical(u) {
			return // refused by the frontend
		}
		pages, public := rules(t, protect.Config{Protect: []string{pattern}}), rules(t, protect.Config{Public: []string{pattern}})
		guarded := pages.NeedsLogin(u)
		if !guarded && !public.NeedsLogin(u) {
			t.Fatalf("%q makes %q public and does not protect it", pattern, path)
		}
		same := []string{path + ";x=1"}
		if path != "/" {
			same = append(same, strings.TrimSuffix(path, "/")+"/below", strings.TrimSuffix(path, "/")+".data")
		}
		if strings.ToUpper(path) == strings.ToUpper(strings.ToLower(path)) {
			same = append(same, strings.ToUpper(path))
		}
		for _, other := range same {
			// The pattern "/" protects only forms of itself.
			if guarded && pattern != "/" && !pages.NeedsLogin(&url.URL{Path: other}) {
				t.Fatalf("%q protects %q and not %q", pattern, path, other)
			}
		}
		if literal := !strings.Contains(pattern, ":"); literal && path == pattern && !guarded {
			t.Fatalf("%q does not protect itself", pattern)
		}
	})
}
