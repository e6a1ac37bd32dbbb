package prefixes_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff/internal/prefixes"
)

func target(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.ParseRequestURI(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return u
}

// The longest prefix of whole segments counts. A path that some server reads as one of
// another prefix belongs to none: CVE-2026-40575, /PRIVATE, //private, /./private,
// /private%2f, %252f, a parameter that servlet containers cut, and their siblings.
func TestFind(t *testing.T) {
	t.Parallel()
	table := prefixes.New([]string{"/app", "/app/admin", "/api", "/api/products", "/Upper", "/a.b/c"})
	const app, admin, api, products, upper, dotted, none, refused = 0, 1, 2, 3, 4, 5, -1, -2
	for path, want := range map[string]int{
		"/app": app, "/app/": app, "/app/x": app, "/app/x/admin": app, "/app/administrator": app, "/app/admin-x": app, "/app/admin": admin, "/app/admin/": admin, "/app/admin/x/../y": refused,
		"/app/admin/X.json": admin, "/app/x%2Fy": app, "/app/100%25": app, "/app/caf%C3%A9": app, "/app/a;b=c": app, "/app/a%3Fb": app, "/app/A": app, "/app/a.json": app,
		"/%61pp/%61dmin": admin, "/apple": none, "/": none, "/docs/app": none, "/docs/a%2Fb": none, "/appendix.html": none, "/app.html": none, "/caf%E9": none,
		"/api/products/5": products, "/api/products": products, "/api/files/a%2Fb": api, "/api/productsx": api, "/api": api, "/api/v1/products": api,
		"/Upper/x": upper, "/a.b/c/d": dotted, "/a.b/x": none, "/a/b/c": none,

		"/APP": refused, "/App/x": refused, "/app/ADMIN": refused, "/app/Admin/x": refused, "/app/adm%69N": refused, "/app/%EF%BD%81dmin": refused, "/app/adm%C4%B1n": refused, "/upper": refused, "/UPPER": refused,
		"//app": refused, "/app//admin": refused, "/./app": refused, "/app/./admin": refused, "/app/x/../admin": refused, "/x/../app": refused, "/app/..": refused,
		"/app%2Fadmin": refused, "/app%2fadmin/x": refused, "/app%252Fadmin": refused, "/app/%2561dmin": refused, "/app%25252Fadmin": refused, "/app/%252561dmin": refused, "/%2561pp/x": refused,
		"/app/%25252525252561": refused, "/app%5Cadmin": refused, `/app\admin`: refused, "/app%255Cadmin": refused, "/app/admin;x": refused, "/app/admin;x/y": refused, "/app/admin%3Bx": refused, "/app;x/admin": refused, "/app;/x": refused,
		"/app/;/admin": refused, "/app/..;/admin": refused, "/app/admin%3Fx": refused, "/app/admin%23": refused, "/app/admin%20": refused, "/app/admin.": refused, "/app/admin.json": refused, "/app/admin.json/x": refused, "/app/admin%00": refused,
		"/app/adm%FFin": refused, "/app/x/%252e%252e/admin": refused, "/app/x%252F..%252Fadmin": refused, "/app/x/%252e%252e/%252e%252e/api": refused, "/app/%09admin": refused, "/app/%2509admin": refused,
		"/app%EF%BC%8Fadmin": refused, "/api/PRODUCTS": refused, "/api/products%2F5": refused, "/api/products.json": refused, "/API/x": refused, "/a.b/C": refused, "/a.b/c;": refused,
	} {
		u := &url.URL{Path: path} // what is no address at all
		if !strings.ContainsAny(path, `\`) {
			u = target(t, path)
		}
		index, ok := table.Find(u)
		if !ok {
			index = refused
		}
		if index != want {
			t.Errorf("%s: got %d, want %d", path, index, want)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[string]string{
		"/orders": "", "/api/v1.2/or_ders~x/@me": "", "/.well-known": "plain segments", "/": "covers everything", "": "plain segments", "orders": "plain segments", "/orders/": "ends with a slash",
		"/orders/:id": "pattern", "/orders/*": "pattern", "/a//b": "plain segments", "/a/./b": "plain segments", "/a/../b": "plain segments", "/a.": "plain segments", "/a./b": "plain segments", "/a%20b": "plain segments",
		"/a;b": "plain segments", "/a b": "plain segments", `/a\b`: "plain segments", "/é": "plain segments", "/a?b": "plain segments", "/a#b": "plain segments", "https://x/a": "pattern",
	} {
		err := prefixes.Check(prefix)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", prefix, err, want)
		}
	}
}

// A path that is accepted belongs to the same route in every simple reading of it.
func FuzzFind(f *testing.F) {
	for _, path := range []string{"/app/admin", "/app%2fadmin", "/app/%252561dmin;x", "/APP/x.json", "/app/../x", "//", "/app/\u017f"} {
		f.Add(path)
	}
	table := prefixes.New([]string{"/app", "/app/admin", "/api"})
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || u.Host != "" {
			return
		}
		index, ok := table.Find(u)
		if !ok {
			return
		}
		under := func(path, prefix string) bool { return path == prefix || strings.HasPrefix(path, prefix+"/") }
		for _, read := range []string{u.Path, strings.ToLower(u.Path), strings.ToUpper(u.Path), strings.ReplaceAll(u.Path, `\`, "/"), strings.ReplaceAll(u.Path, "//", "/")} {
			read = strings.ToLower(read)
			if under(read, "/app/admin") != (index == 1) || under(read, "/app") != (index == 0 || index == 1) || under(read, "/api") != (index == 2) {
				t.Fatalf("%q is route %d, and can be read as %q", path, index, read)
			}
		}
	})
}

// The cost of a request when there are routes.
func BenchmarkFind(b *testing.B) {
	table := prefixes.New([]string{"/orders", "/reports", "/api", "/api/products"})
	for name, path := range map[string]string{"plain": "/api/products/5", "mixed": "/api/products/A-5.b"} {
		u := target(b, path)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.Find(u)
			}
		})
	}
}
