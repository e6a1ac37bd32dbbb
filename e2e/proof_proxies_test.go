//go:build proof

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/certtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/proof"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

const (
	deployment  = "docs/deployment.md"
	proxiedBase = "https://shop.example"
	proxiedAPI  = "https://api.shop.example"
	// clientIP is the address of the browsers, which no proxy has.
	clientIP = "127.0.0.5"
	forgedIP = "203.0.113.9"
)

// A proxySetup is a topology behind a proxy with the configuration of the document.
type proxySetup struct {
	in          installation
	bffs        []*process // bff, or serve
	admins      []string   // their admin ports
	ca          *certtest.Authority
	https, http string // addresses of the proxy
	uploading   chan struct{}
}

// proxies run a configuration. They get a directory with tls.crt, tls.key and tls.pem.
var proxies = []struct {
	name, mark string
	run        func(t *testing.T, p *proxySetup, dir, config string) *process
}{
	{"nginx", "nginx.conf", func(t *testing.T, p *proxySetup, dir, config string) *process {
		t.Helper()
		config = replaced(t, config, "/etc/ssl/shop/", dir+"/", "listen 443 ", "listen "+p.https+" ", "listen 80;", "listen "+p.http+";")
		file := proxyFile(t, dir, "nginx.conf", config)
		return start(t, "nginx", nil, found(t, "nginx"), "-p", dir, "-e", "stderr", "-c", file, "-g", "daemon off; pid "+dir+"/nginx.pid;")
	}},
	{"haproxy", "haproxy.cfg", func(t *testing.T, p *proxySetup, dir, config string) *process {
		t.Helper()
		config = replaced(t, config, "/etc/haproxy/shop.pem", dir+"/tls.pem", "bind :443 ", "bind "+p.https+" ", "bind :80\n", "bind "+p.http+"\n")
		return start(t, "haproxy", nil, found(t, "haproxy"), "-db", "-f", proxyFile(t, dir, "haproxy.cfg", config))
	}},
	{"Caddy", "Caddyfile", func(t *testing.T, p *proxySetup, dir, config string) *process {
		t.Helper()
		config = replaced(t, config, "/etc/caddy/", dir+"/", ":443 {", ":"+portOf(p.https)+" {")
		config = fmt.Sprintf("{\n\tadmin off\n\thttp_port %s\n\thttps_port %s\n}\n%s", portOf(p.http), portOf(p.https), config)
		return start(t, "caddy", nil, found(t, "caddy"), "run", "--adapter", "caddyfile", "--config", proxyFile(t, dir, "Caddyfile", config))
	}},
}

// TestProofProxies runs the configurations of docs/deployment.md in front of each topology.
func TestProofProxies(t *testing.T) {
	var mu sync.Mutex
	section := proof.Section{
		Title: "Behind a proxy",
		Text: "The configurations of [deployment](deployment.md), in front of two bffs. Each row signs in, calls the API with the session and at " +
			"the gateway with a bearer token, reads an event stream and a WebSocket, and sends an upload whose first part must arrive before " +
			"the rest is sent, with forged forwarded addresses and a foreign Host. Then each bff is stopped and started again, under 50 requests a second.",
		Columns: []string{"proxy", "topology", "requests in the rolling restart", "failed"},
	}
	for _, topology := range []string{"serve", "serve --grpc-target", "bff, gateway, server"} {
		for _, proxy := range proxies {
			t.Run(proxy.name+"/"+topology, func(t *testing.T) {
				var front *process
				p := newProxied(t, topology, func(p *proxySetup, dir, config string) { front = proxy.run(t, p, dir, config) }, proxy.mark)
				v := p.visitor(t)
				eventually(t, proxy.name, func() error {
					select {
					case <-front.done:
						t.Fatalf("%s has ended:\n%s", proxy.name, front.out)
					default:
					}
					resp, err := v.client.Get(proxiedBase + "/readyz")
					if err != nil {
						return err
					}
					defer resp.Body.Close()
					if resp.StatusCode != http.StatusOK {
						return fmt.Errorf("%s", resp.Status)
					}
					return nil
				})
				signsIn(t, p.in, v, "alice")
				p.calls(t, v)
				p.streams(t, v)
				p.webSocket(t, v)
				p.upload(t, v)
				p.namesAndAddresses(t, v)
				sent, failed := p.rollingRestart(t, v)
				mu.Lock()
				defer mu.Unlock()
				section.Rows = append(section.Rows, []string{proxy.name, "`" + topology + "`", fmt.Sprint(sent), fmt.Sprint(failed)})
			})
		}
	}
	proof.Report(t, section)
}

// newProxied starts two nodes of a topology behind a proxy.
func newProxied(t *testing.T, topology string, run func(p *proxySetup, dir, config string), mark string) *proxySetup {
	t.Helper()
	p := &proxySetup{ca: certtest.New(t, "shop"), https: freeAddress(t), http: freeAddress(t), uploading: make(chan struct{}, 1)}
	op := startProvider(t, freeAddress(t), proxiedBase, 10*time.Minute)
	redis := redistest.Start(t)
	front := httptest.NewServer(p.frontEnd(t))
	t.Cleanup(front.Close)

	blocks := map[string]string{}
	for _, b := range blocksOf(t, repository(t), deployment) {
		blocks[b.mark] = b.text
	}
	// The base URL stays as it is: the provider knows the client under it.
	all := slices.Concat(op.environment(proxiedBase), lines(replaced(t, blocks["all"], proxiedBase, proxiedBase)),
		[]string{"GATEHOUSE_DATABASE_URL=memory:", "GATEHOUSE_STREAM_HEARTBEAT=1s"})
	servers, gateways, bffs := [2]string{freeAddress(t), freeAddress(t)}, [2]string{freeAddress(t), freeAddress(t)}, [2]string{freeAddress(t), freeAddress(t)}
	bffEnv := slices.Concat(all, lines(replaced(t, blocks["bff"], "10.0.0.10", "127.0.0.1", "10.0.0.40:6379", redis.Addr())),
		[]string{"GATEHOUSE_FRONTEND=" + front.URL})
	toServers := lines(replaced(t, blocks["gateway"], "10.0.0.31:9090", servers[0], "10.0.0.32:9090", servers[1]))
	toGateways := lines(replaced(t, blocks["parts"], "10.0.0.21:5000", gateways[0], "10.0.0.22:5000", gateways[1]))

	admin := func() string { return freeAddress(t) }
	ready := func(proc *process, admin string) { proc.ready(t, "http://"+admin+"/readyz") }
	for i := range 2 {
		if topology != "serve" {
			a := admin()
			ready(gatehouse(t, all, "server", "--listen-grpc="+servers[i], "--listen-admin="+a), a)
		}
	}
	for i := range 2 {
		a := admin()
		var command []string
		env := bffEnv
		switch topology {
		case "bff, gateway, server":
			g := admin()
			ready(gatehouse(t, slices.Concat(all, toServers), "gateway", "--listen-gateway="+gateways[i], "--listen-admin="+g), g)
			env, command = slices.Concat(env, toGateways), []string{"bff"}
		case "serve --grpc-target":
			env, command = slices.Concat(env, toServers), []string{"serve", "--listen-gateway=" + gateways[i]}
		default:
			command = []string{"serve", "--listen-gateway=" + gateways[i], "--listen-grpc=" + servers[i]}
		}
		command = append(command, "--listen-bff="+bffs[i], "--listen-admin="+a)
		p.bffs, p.admins = append(p.bffs, gatehouse(t, env, command...)), append(p.admins, a)
	}
	for i, b := range p.bffs {
		ready(b, p.admins[i])
	}
	p.in = installation{base: proxiedBase, op: op, processes: p.bffs}

	dir := t.TempDir()
	certFile, keyFile := p.ca.Issue(t, "shop.example", "api.shop.example").Write(t, dir, "tls")
	var pem []byte
	for _, file := range []string{certFile, keyFile} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pem = append(pem, content...)
	}
	proxyFile(t, dir, "tls.pem", string(pem))
	run(p, dir, replaced(t, blocks[mark], "10.0.0.11:3000", bffs[0], "10.0.0.12:3000", bffs[1], "10.0.0.11:5000", gateways[0], "10.0.0.12:5000", gateways[1]))
	return p
}

// frontEnd is an application that has pages, a WebSocket and an upload.
func (p *proxySetup) frontEnd(t *testing.T) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>shop</html>")
	})
	mux.HandleFunc("/ws/echo", func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		// The key and its answer are those of RFC 6455 §1.3.
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n", r.Header.Get("Upgrade"))
		_ = rw.Flush()
		line, _ := rw.ReadString('\n')
		_, _ = rw.WriteString("echo " + line)
		_ = rw.Flush()
	})
	mux.HandleFunc("POST /upload", func(w http.ResponseWriter, r *http.Request) {
		first, err := io.ReadFull(r.Body, make([]byte, 1024))
		p.uploading <- struct{}{}
		rest, err2 := io.Copy(io.Discard, r.Body)
		fmt.Fprintln(w, int64(first)+rest, err, err2)
	})
	return mux
}

// visitor returns a browser at another address, which finds the proxy by its names.
func (p *proxySetup) visitor(t *testing.T) *visitor {
	t.Helper()
	v := newVisitor(t)
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(clientIP)}}
	transport := &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: p.ca.Pool()},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			switch host, port, _ := net.SplitHostPort(address); {
			case strings.HasSuffix(host, "shop.example") && port == "443":
				address = p.https
			case strings.HasSuffix(host, "shop.example") && port == "80":
				address = p.http
			}
			return dialer.DialContext(ctx, network, address)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	v.client.Transport = transport
	return v
}

func (p *proxySetup) calls(t *testing.T, v *visitor) {
	t.Helper()
	v.fetch(t, "/api/private-route").wants(t, http.StatusOK, "application/json")
	if got := v.send(t, http.MethodGet, proxiedAPI+"/api/private-route", http.Header{}, nil); got.status != http.StatusUnauthorized || got.header.Get("Www-Authenticate") == "" {
		t.Errorf("without a token: %d, %v", got.status, got.header)
	}
	tokens := p.in.op.state(t).of("access_token")
	bearer := http.Header{"Authorization": {"Bearer " + tokens[len(tokens)-1]}, "Content-Type": {"application/json"}}
	v.send(t, http.MethodGet, proxiedAPI+"/api/private-route", bearer.Clone(), nil).wants(t, http.StatusOK, "application/json")
	v.send(t, http.MethodPost, proxiedAPI+"/api/products", bearer, bytes.NewReader(make([]byte, 2<<20))).wants(t, http.StatusRequestEntityTooLarge, "application/json")
}

func (p *proxySetup) streams(t *testing.T, v *visitor) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for path, want := range map[string][]string{
		"/api/products:watch": {"id: ", `data: {"kind":"KIND_READY"`, "\n", ":"}, // the last is a heartbeat
		"/api/auth/events":    {""},
	} {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, proxiedBase+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Accept": {"text/event-stream"}, "Sec-Fetch-Site": {"same-origin"}}
		resp, err := v.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		stream := bufio.NewReader(resp.Body)
		for _, w := range want {
			if line, err := stream.ReadString('\n'); err != nil || !strings.HasPrefix(line, w) {
				t.Fatalf("%s: %s, %q, %v, want %q", path, resp.Status, line, err, w)
			}
		}
		_ = resp.Body.Close()
	}
}

func (p *proxySetup) webSocket(t *testing.T, v *visitor) {
	t.Helper()
	conn, err := tls.Dial("tcp", p.https, &tls.Config{RootCAs: p.ca.Pool(), ServerName: "shop.example", NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	request, err := http.NewRequest(http.MethodGet, proxiedBase, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range v.client.Jar.Cookies(request.URL) {
		request.AddCookie(c)
	}
	fmt.Fprintf(conn, "GET /ws/echo HTTP/1.1\r\nHost: shop.example\r\nOrigin: %s\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: %s\r\n\r\n", proxiedBase, request.Header.Get("Cookie"))
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("WebSocket: %v, %v", resp, err)
	}
	fmt.Fprintf(conn, "hello\n")
	if line, err := r.ReadString('\n'); line != "echo hello\n" {
		t.Errorf("WebSocket: %q, %v", line, err)
	}
}

// upload sends 20 MB, the rest of it after the application has got the first part.
func (p *proxySetup) upload(t *testing.T, v *visitor) {
	t.Helper()
	const size = 20 << 20
	r, w := io.Pipe()
	go func() {
		_, _ = w.Write(make([]byte, 256<<10))
		select {
		case <-p.uploading:
			_, _ = w.Write(make([]byte, size-256<<10))
		case <-time.After(patience):
			t.Error("an upload does not arrive before it is complete")
		}
		_ = w.Close()
	}()
	got := v.send(t, http.MethodPost, proxiedBase+"/upload", http.Header{"Origin": {proxiedBase}, "Sec-Fetch-Site": {"same-origin"}}, r)
	if want := fmt.Sprintln(size, nil, nil); got.status != http.StatusOK || got.body != want {
		t.Errorf("upload: %d, %q, want %q", got.status, got.body, want)
	}
}

func (p *proxySetup) namesAndAddresses(t *testing.T, v *visitor) {
	t.Helper()
	v.send(t, http.MethodGet, proxiedBase+"/api/private-route", http.Header{"X-Forwarded-For": {forgedIP}, "X-Forwarded-Host": {"evil.example"}}, nil).
		wants(t, http.StatusOK, "application/json")
	lines := 0
	for _, b := range p.bffs {
		for line := range strings.Lines(b.out.String()) {
			if strings.Contains(line, `"path":"/api/private-route"`) {
				lines++
				if !strings.Contains(line, `"client":"`+clientIP+`"`) {
					t.Errorf("the client's address is wrong: %s", line)
				}
			}
			if strings.Contains(line, forgedIP) || strings.Contains(line, "begin at another host") {
				t.Errorf("the proxy passes on what a client forges, or loses Host: %s", line)
			}
		}
	}
	if lines == 0 {
		t.Error("no line of a request to the API")
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, proxiedBase+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "evil.example"
	resp, err := v.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("Host: evil.example is %s, want 421", resp.Status)
	}
	got := v.send(t, http.MethodGet, "http://shop.example/public?a=b", http.Header{}, nil)
	if want := proxiedBase + "/public?a=b"; got.status/100 != 3 || got.header.Get("Location") != want {
		t.Errorf("http: %d to %q, want a redirect to %q", got.status, got.header.Get("Location"), want)
	}
}

// rollingRestart stops each bff and starts it again, under load.
func (p *proxySetup) rollingRestart(t *testing.T, v *visitor) (sent, failed int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var (
		all sync.WaitGroup
		mu  sync.Mutex
	)
	all.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			all.Go(func() {
				err := p.request(context.WithoutCancel(ctx), v)
				mu.Lock()
				defer mu.Unlock()
				sent++
				if err != nil {
					failed++
					t.Error("in the rolling restart:", err)
				}
			})
		}
	})
	for i, b := range p.bffs {
		if code := b.stop(t); code != 0 {
			t.Errorf("%s ended with exit code %d, want 0", b.name, code)
		}
		again := startIn(t, t.TempDir(), b.name, b.cmd.Env, b.cmd.Path, b.cmd.Args[1:]...)
		again.ready(t, "http://"+p.admins[i]+"/readyz")
		before := again.out.String()
		eventually(t, "the proxy uses "+b.name+" again", func() error {
			if strings.Count(again.out.String(), `"msg":"request"`) <= strings.Count(before, `"msg":"request"`) {
				return fmt.Errorf("no request yet")
			}
			return nil
		})
	}
	cancel()
	all.Wait()
	return sent, failed
}

func (p *proxySetup) request(ctx context.Context, v *visitor) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, proxiedBase+"/api/private-route", nil)
	if err != nil {
		return err
	}
	r.Header = http.Header{"Accept": {"application/json"}, "Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"cors"}}
	resp, err := v.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s, %w", resp.Status, body, err)
	}
	return nil
}

// replaced replaces pairs of texts, each of which must be there.
func replaced(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%s: no %q in\n%s", deployment, pairs[i], text)
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func lines(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }

func proxyFile(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func found(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + program)
	}
	if err != nil {
		t.Fatalf("%s is missing; make proof installs it", program)
	}
	return path
}
