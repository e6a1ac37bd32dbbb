//go:build proof

package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"image"
	"image/color"
	_ "image/gif"
	_ "image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/proof"
)

// marker is the text that the loader of each fixture's protected page returns. The protected
// picture is a single colour, secretColour.
const marker = "MARKER-of-the-protected-loader"

var secretColour = color.RGBA{R: 255, B: 255, A: 255}

// A framework is a fixture below e2e/frameworks: a public page at / with a picture, and a protected
// page at /private with a loader and a picture.
type framework struct {
	name, dir string
	root      string     // within dir, where the build tool runs
	build     []string   // a script and its arguments
	serve     []string   // likewise; nil for a static export
	built     string     // within root: the build's output for browsers
	folders   []string   // path prefixes of these files, besides the root
	public    string     // GATEHOUSE_PUBLIC
	open      []string   // public addresses, which must answer signed out
	secret    [][]string // addresses, and headers, that return the secret without a guard
}

var frameworks = []framework{
	{
		name: "Next.js 16", dir: "nextjs", root: "server",
		build: []string{"../node_modules/next/dist/bin/next", "build"},
		serve: []string{"../node_modules/next/dist/bin/next", "start", "--hostname=127.0.0.1"},
		built: ".next/static", folders: []string{"/_next/static"},
		public: "/,/logo.png,/favicon.ico,/_next/static/:path*,/_next/image",
		open:   []string{"/", "/logo.png", "/_next/image?url=%2Flogo.png&w=64&q=75"},
		secret: [][]string{{"/private"}, {"/private.rsc"}, {"/private/secret.png"}, {"/_next/image?url=%2Fprivate%2Fsecret.png&w=64&q=75"}, {"/_next/image?url=/private/secret.png%23;&w=64&q=75"}},
	},
	{
		name: "Next.js 16, static export", dir: "nextjs", root: "export",
		build: []string{"../node_modules/next/dist/bin/next", "build"},
		built: "out", folders: []string{""},
		public: "/,/logo.png,/index.txt,/__next._tree.txt,/_next/static/:path*",
		open:   []string{"/", "/logo.png", "/index.txt"},
		secret: [][]string{{"/private"}, {"/private.txt"}, {"/private/secret.png"}, {"/private/__next._full.txt"}},
	},
	{
		name: "React Router 8, framework mode", dir: "reactrouter",
		build: []string{"node_modules/@react-router/dev/bin.cjs", "build"},
		serve: []string{"node_modules/@react-router/serve/bin.cjs", "build/server/index.js"},
		built: "build/client", folders: []string{""},
		public: "/,/_.data,/logo.png,/assets/:path*,/__manifest",
		open:   []string{"/", "/_.data", "/logo.png"},
		secret: [][]string{{"/private/"}, {"/private.data"}, {"/private/secret.png"}},
	},
	{
		name: "SvelteKit 3, adapter-node", dir: "sveltekit",
		build: []string{"node_modules/vite/bin/vite.js", "build"},
		serve: []string{"build/index.js"},
		built: "build/client", folders: []string{""},
		public: "/,/__data.json,/logo.png,/_app/immutable/:path*,/_app/version.json,/_app/env.js",
		open:   []string{"/", "/__data.json?x-sveltekit-invalidated=01", "/logo.png"},
		secret: [][]string{{"/private"}, {"/private/__data.json"}, {"/private/__data.json?x-sveltekit-invalidated=11"}, {"/private/secret.png"}},
	},
	{
		name: "Nuxt 4", dir: "nuxt",
		build: []string{"node_modules/nuxt/bin/nuxt.mjs", "build"},
		serve: []string{".output/server/index.mjs"},
		built: ".output/public", folders: []string{""},
		public: "/,/_payload.json,/logo.png,/_nuxt/:path*,/_ipx/:path*",
		open:   []string{"/", "/logo.png", "/_ipx/w_64/logo.png"},
		secret: [][]string{{"/private"}, {"/private/secret.png"}, {"/_ipx/w_64/private/secret.png"}, {"/_ipx/_/private/secret.png"}},
	},
}

// TestProofFrameworks builds an application with each framework and requests its protected page,
// signed out, at every address that the build lists, every address at which the framework returns
// it, and mutations of both.
func TestProofFrameworks(t *testing.T) {
	base, err := filepath.Abs("frameworks")
	if err != nil {
		t.Fatal(err)
	}
	installed(t, base, "node")
	node := filepath.Join(base, "node/node_modules/node-linux-"+map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH], "bin/node")
	section := proof.Section{
		Title: "Pages of real frameworks",
		Text: "Each application has a public page, a protected page with a loader, and a picture for each. Signed out, no address may give what the loader returns or the picture: " +
			"every file that the build lists, the framework's own addresses of the page, and mutations of both (case, encodings, slashes, parameters, extensions, queries). " +
			"Signed in, each of the framework's addresses must give it, and the application must see the header Gatehouse-Session.",
		Columns: []string{"framework", "rules", "addresses asked signed out", "leaks", "secret addresses that work signed in"},
	}
	for _, f := range frameworks {
		t.Run(f.name, func(t *testing.T) {
			installed(t, base, f.dir)
			root := filepath.Join(copyOf(t, filepath.Join(base, f.dir)), f.root)
			pictures(t, root, f.dir)
			runTool(t, root, node, f.build...)
			for _, rules := range []string{"GATEHOUSE_PROTECT=/private", "GATEHOUSE_PUBLIC=" + f.public} {
				front := "dir:" + filepath.Join(root, f.built)
				if f.serve != nil {
					address := freeAddress(t)
					front = "http://" + address
					startIn(t, root, f.name, []string{"SECRET_MARKER=" + marker, "NODE_ENV=production", "NEXT_TELEMETRY_DISABLED=1", "HOST=127.0.0.1", "PORT=" + portOf(address)}, node, f.serve...)
					answers(t, front+"/")
				}
				// Directly at the framework: an address that does not return the secret proves
				// nothing.
				if f.serve != nil {
					for _, s := range f.secret {
						if !f.optional(s) && !gives(get(t, strings.TrimPrefix(front, "http://"), s[0], s[1:]...)) {
							t.Errorf("%s does not return the secret without a guard", s)
						}
					}
				}
				s := startServe(t, newNotes(), "GATEHOUSE_FRONTEND="+front, rules)
				asked, leaks := crawl(t, f, root, strings.TrimPrefix(s.base, "http://"))
				public := strings.HasPrefix(rules, "GATEHOUSE_PUBLIC")
				for _, address := range f.open {
					if got := get(t, strings.TrimPrefix(s.base, "http://"), address); public && got.status != http.StatusOK {
						t.Errorf("%s: signed out, %s: status %d", rules, address, got.status)
					}
				}
				section.Rows = append(section.Rows, []string{f.name, strings.SplitN(rules, "=", 2)[0], fmt.Sprint(asked), fmt.Sprint(leaks), f.signedIn(t, s)})
			}
		})
	}
	proof.Report(t, section)
}

// optional addresses belong to other versions and modes of a framework.
func (f framework) optional(s []string) bool { return s[0] == "/private.rsc" }

// signedIn signs in and repeats all requests.
func (f framework) signedIn(t *testing.T, s *system) string {
	t.Helper()
	v := newVisitor(t)
	v.open(t, s.base+"/api/auth/login?returnTo=/private")
	method, action, values := formOf(t, v.page)
	values.Set("user", "seller")
	values.Del("cancel") // the form's other button
	page := v.navigate(t, method, resolve(t, v.page.url, action), values, v.page.url)
	if page.status != http.StatusOK || !strings.Contains(page.body, marker) {
		t.Fatalf("signed in, the protected page: status %d: %.900s", page.status, page.body[max(0, strings.Index(page.body, "<body")):])
	}
	if f.serve != nil && !strings.Contains(page.body, "session=active subject=") {
		t.Errorf("signed in, the application does not see the session: %.600s", page.body)
	}
	var cookies []string
	u, err := http.NewRequest(http.MethodGet, s.base, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range v.client.Jar.Cookies(u.URL) {
		cookies = append(cookies, c.String())
	}
	works, of := 0, 0
	for _, secret := range f.secret {
		if f.optional(secret) {
			continue
		}
		of++
		got := get(t, strings.TrimPrefix(s.base, "http://"), secret[0], append(secret[1:], "Cookie: "+strings.Join(cookies, "; "))...)
		if gives(got) {
			works++
		} else {
			t.Errorf("signed in, %s: status %d: %.200s", secret, got.status, got.body)
		}
	}
	return fmt.Sprintf("%d of %d", works, of)
}

// crawl sends all requests, signed out.
func crawl(t *testing.T, f framework, root, host string) (asked, leaks int) {
	t.Helper()
	var targets []string
	err := filepath.WalkDir(filepath.Join(root, f.built), func(file string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			rel, _ := filepath.Rel(filepath.Join(root, f.built), file)
			for _, folder := range f.folders {
				targets = append(targets, folder+"/"+filepath.ToSlash(rel))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range f.secret {
		targets = append(targets, secret[0])
	}
	targets = append(targets, secretAddresses...)
	for _, target := range slices.Clone(targets) {
		if strings.Contains(strings.ToLower(target), "private") {
			targets = append(targets, mutations(target)...)
		}
	}
	slices.Sort(targets)
	headers := [][]string{nil, {"RSC: 1"}, {"RSC: 1", "Next-Router-Prefetch: 1", "Next-Url: /private"}, {"X-Nextjs-Data: 1", "X-Middleware-Subrequest: middleware:middleware", "X-Matched-Path: /private", "X-Original-Url: /private", "X-Rewrite-Url: /private", "X-Forwarded-Uri: /private", "Gatehouse-Session: active", "Gatehouse_Session: active", "Purpose: prefetch"}}
	for _, target := range slices.Compact(targets) {
		for i, h := range headers {
			if i > 0 && !strings.Contains(strings.ToLower(target), "private") && target != "/" {
				continue
			}
			asked++
			if got := get(t, host, target, h...); gives(got) {
				leaks++
				t.Errorf("signed out, %s with %q: status %d gives the secret", target, h, got.status)
			}
		}
	}
	return asked, leaks
}

// secretAddresses are addresses at which a framework, in some version, returns the data or the
// picture of /private.
var secretAddresses = []string{
	"/private.data", "/private.rsc", "/private.txt", "/private.json", "/private.html", "/private.md", "/private/index.html", "/private/index.txt", "/private/index.rsc", "/private/_.data", "/private/_index.data", "/private/__data.json", "/private/_payload.json", "/private/_payload.js", "/private/__route.js", "/private.html__data.json",
	"/private/__next._tree.txt", "/private/__next._full.txt", "/private/__next._head.txt", "/private/__next._index.txt", "/private/__next.private.txt", "/private/__next.private.__PAGE__.txt", "/private.segments/_tree.segment.rsc", "/private.segments/private/__PAGE__.segment.rsc", "/private.prefetch.rsc",
	"/_next/data/build/private.json", "/_next/data/private.json", "/?_data=routes/private", "/_root.data?_routes=routes%2Fprivate", "/private.data?_routes=routes%2Fprivate", "/?_rsc=x&url=/private", "/__manifest?paths=/private&version=x", "/__manifest?p=/private",
	"/__nuxt_error?url=/private", "/__nuxt_error?url=%2Fprivate&statusCode=200", "/__nuxt_island/private.json", "/_payload.json?url=/private",
	"/_next/image?w=64&q=75&url=/private/secret.png", "/_next/image?url=http://localhost/private/secret.png&w=64&q=75", "/_next/image?url=//localhost/private/secret.png&w=64&q=75", "/_next/image?url=%2Fprivate%2Fsecret.png%3Fx&w=64&q=75", "/_next/image?url=/logo.png&url=/private/secret.png&w=64&q=75", "/_next/image?url=/./private/secret.png&w=64&q=75", "/_next/image?url=/x/../private/secret.png&w=64&q=75", "/_next/image?url=/%70rivate/secret.png&w=64&q=75", "/_next/image?url=/%2570rivate/secret.png&w=64&q=75", "/_next/image?url=/private/secret.png;&w=64&q=75", "/_next/image?url=/private/secret.png&w=64&q=75&x=%ZZ", "/_next/image?w=64;&url=/private/secret.png&q=75", `/_next/image?url=\private\secret.png&w=64&q=75`,
	"/_next/image?url=/_next/image%3Furl=/private/secret.png%26w=64%26q=75&w=64&q=75", "/_next/image/?url=/private/secret.png&w=64&q=75", "/_NEXT/image?url=/private/secret.png&w=64&q=75",
	"/_ipx/w_64/private/secret.png", "/_ipx/_/private/secret.png", "/_ipx/f_png/private/secret.png", "/_ipx/w_64/./private/secret.png", "/_ipx/w_64/x/../private/secret.png", "/_ipx/w_64//private/secret.png", "/_ipx/w_64/%2Fprivate%2Fsecret.png", "/_ipx/w_64/private%2Fsecret.png", "/_ipx/w_64/%70rivate/secret.png", "/_ipx/w_64/http:/127.0.0.1/private/secret.png", "/_IPX/w_64/private/secret.png", "/_ipx/w_64/_nuxt/../private/secret.png", "/_ipx/_nuxt/private/secret.png",
	"/_vercel/image?url=/private/secret.png&w=64&q=75", "/_image?href=/private/secret.png&w=64", "/.netlify/images?url=/private/secret.png", "/cdn-cgi/image/width=64/private/secret.png",
}

// mutations returns other spellings of a request target.
func mutations(target string) []string {
	path, query, hasQuery := strings.Cut(target, "?")
	with := func(p string) string {
		if hasQuery {
			return p + "?" + query
		}
		return p
	}
	all := []string{target + "?x", target + "&_rsc=1", target + "#", target + "%23", target + "?;", target + "%ZZ", "http://evil.example" + target, "http://localhost" + target}
	for _, from := range []string{"private", "Private"} {
		for _, to := range []string{"PRIVATE", "pRivate", "%70rivate", "%50rivate", "p%72ivate", "%2570rivate", "%70%72%69%76%61%74%65", "private;x=1", "private%3Bx", "private%20", "private%09", "private%00", "private%23", "private%3F", "private.", "private%2e", "./private", "%2e/private", "x/../private", "x/%2e%2e/private", "x/..;/private", ";x/private", "/private", "%2fprivate", "%5cprivate", `\private`, "private%ff", "privat%65", "priv\u0430te"} {
			if strings.Contains(target, from) {
				all = append(all, strings.Replace(target, from, to, 1))
			}
		}
	}
	for _, suffix := range []string{"/", "//", "/.", "/./", "/..", "/x/..", ";", ";x=1", ".", "..", "%20", "%2e", "%2f", "%00", ".data", ".json", ".txt", ".rsc", ".html", ".gz", ".br", "/index.html", "/__data.json", "/_payload.json", "~", "$", "::$DATA"} {
		all = append(all, with(path+suffix))
	}
	for _, prefix := range []string{"/", "//", "/.", "/x/..", "/;", "/;x", "/%2e", "/%2f", `/\`, "/_next/static/..", "/_nuxt/..", "/_next/data/build", "/en", "/public/..;"} {
		all = append(all, with(prefix+path))
	}
	return all
}

// gives reports whether a response contains the secret: the loader's text, or a picture of its
// colour. Browsers accept more image formats than the test can decode, so get requests PNG.
func gives(got reply) bool {
	if bytes.Contains(got.body, []byte(marker)) {
		return true
	}
	picture, _, err := image.Decode(bytes.NewReader(got.body))
	if err != nil {
		return strings.HasPrefix(got.mediaType, "image/") && !strings.Contains(got.mediaType, "svg") && !strings.Contains(got.mediaType, "icon") && got.status == http.StatusOK && len(got.body) > 0
	}
	r, g, b, _ := picture.At(picture.Bounds().Dx()/2, picture.Bounds().Dy()/2).RGBA()
	return r > 0xc000 && g < 0x4000 && b > 0xc000
}

// A reply is the result of get.
type reply struct {
	status    int
	mediaType string
	body      []byte
}

// get sends a request target unchanged, which no HTTP client does.
func get(t *testing.T, host, target string, header ...string) reply {
	t.Helper()
	conn, err := net.DialTimeout("tcp", strings.Replace(host, "localhost", "127.0.0.1", 1), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	request := "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\nAccept: image/png,*/*\r\n"
	for _, line := range header {
		request += line + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return reply{} // not a valid request target
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body) // half of it is enough
	return reply{resp.StatusCode, resp.Header.Get("Content-Type"), body}
}

// installed installs the packages of a fixture, as tools/setup does for the other tests.
func installed(t *testing.T, base, dir string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "../tools/npmci", filepath.Join(base, dir))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci in %s: %v\n%s", dir, err, out)
	}
}

// runTool runs a build tool until it ends.
func runTool(t *testing.T, dir, node string, tool ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), node, tool...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SECRET_MARKER="+marker, "NODE_ENV=production", "NEXT_TELEMETRY_DISABLED=1", "NUXT_TELEMETRY_DISABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(tool, " "), err, out)
	}
}

// pictures writes logo.png and private/secret.png to the framework's directory of public files.
func pictures(t *testing.T, root, dir string) {
	t.Helper()
	folder := filepath.Join(root, "public")
	if dir == "sveltekit" {
		folder = filepath.Join(root, "static")
	}
	for name, c := range map[string]color.RGBA{"logo.png": {G: 255, A: 255}, "private/secret.png": secretColour} {
		picture := image.NewRGBA(image.Rect(0, 0, 128, 128))
		for i := range 128 * 128 {
			picture.Set(i%128, i/128, c)
		}
		var out bytes.Buffer
		if err := png.Encode(&out, picture); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
