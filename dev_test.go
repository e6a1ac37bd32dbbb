package gatehouse_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/gatehouse-dev/gatehouse"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/gatehousetest"
	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/internal/testrun"
)

// dev runs the command dev until it serves, and returns what runs and what it wrote.
// A run that does not start has an empty system.
func dev(t *testing.T, app gatehouse.App, environ []string, args ...string) (sys testrun.System, out, er string) {
	t.Helper()
	store, err := memory.New(memory.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	serving, stopped := make(chan testrun.System, 1), make(chan int, 1)
	ctx, stop := context.WithCancel(testrun.NewContext(context.Background(), &testrun.Hooks{
		Now: time.Now, Sessions: store, Serving: func(run testrun.System) {
			sys, out, er = run, stdout.String(), stderr.String() // before anything is written concurrently
			serving <- run
		},
	}))
	args = append([]string{"dev", "--listen-bff=127.0.0.1:0", "--listen-gateway=127.0.0.1:0", "--listen-grpc=127.0.0.1:0", "--listen-devidp=127.0.0.1:0"}, args...)
	go func() { stopped <- gatehouse.Run(ctx, app, args, environ, &stdout, &stderr) }()
	select {
	case <-serving:
		t.Cleanup(func() {
			stop()
			if code := <-stopped; code != 0 {
				t.Errorf("exit code %d:\n%s", code, stderr.String())
			}
		})
	case <-stopped:
		stop()
		return testrun.System{}, stdout.String(), stderr.String()
	}
	return sys, out, er
}

// file writes a file and returns its path.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "people.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const people = `
users:
  anna:
    email: anna@notes.test
    permissions: [shop:write]
    claims: {org: acme}
  ben:
machines:
  importer:
    secret: of the importer
    permissions: [shop:write]
    scopes: [shop:read]
`

// shop returns an application with a service whose methods need a permission, a scope
// and an authentication context.
func shop() gatehouse.App {
	desc := &grpc.ServiceDesc{ServiceName: "shop.v1.ShopService", HandlerType: (*any)(nil)}
	for _, method := range []string{"Write", "Read", "Confirm"} {
		desc.Methods = append(desc.Methods, grpc.MethodDesc{
			MethodName: method,
			Handler: func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
				in := new(emptypb.Empty)
				if err := decode(in); err != nil {
					return nil, err
				}
				info := &grpc.UnaryServerInfo{Server: srv, FullMethod: "/shop.v1.ShopService/" + method}
				return intercept(ctx, in, info, func(context.Context, any) (any, error) { return in, nil })
			},
		})
	}
	return gatehouse.App{
		Name:     "shop",
		Services: []gatehouse.Service{gatehouse.NewService[any](desc, nil, nil, struct{}{})},
		Policies: map[string]*authv1.Policy{
			"/shop.v1.ShopService/Write":   {Permissions: []string{"shop:write"}},
			"/shop.v1.ShopService/Read":    {Scopes: []string{"shop:read"}},
			"/shop.v1.ShopService/Confirm": {AcrValues: []string{"mfa"}},
		},
	}
}

// TestDevUsersFile: users and machines of the file in the working directory sign in and
// call the API with what the file gives them.
func TestDevUsersFile(t *testing.T) { // not parallel: it changes the working directory
	t.Chdir(t.TempDir())
	if err := os.WriteFile("dev-users.yaml", []byte(people), 0o600); err != nil {
		t.Fatal(err)
	}
	app := gatehousetest.Start(t, shop())
	resp, err := app.SignIn(t, "anna").Get("/api/auth/me")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var me map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&me); err != nil {
		t.Fatal(err)
	}
	for claim, want := range map[string]any{"sub": "dev|anna", "email": "anna@notes.test", "name": "Anna", "org": "acme"} {
		if me[claim] != want {
			t.Errorf("%s is %v, want %v", claim, me[claim], want)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, app.Issuer+"/oauth/token", strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("importer", url.QueryEscape("of the importer"))
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var machine struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&machine); err != nil || machine.AccessToken == "" {
		t.Fatalf("no token for the machine: %d %v", answer.StatusCode, err)
	}
	for _, c := range []struct {
		who, token, method string
		want               codes.Code
	}{
		{"anna", app.Token(t, "anna"), "Write", codes.OK},
		{"ben", app.Token(t, "ben"), "Write", codes.PermissionDenied},
		{"the machine", machine.AccessToken, "Write", codes.OK},
		{"the machine", machine.AccessToken, "Read", codes.OK},
	} {
		err := app.Conn(t, c.token).Invoke(t.Context(), "/shop.v1.ShopService/"+c.method, new(emptypb.Empty), new(emptypb.Empty))
		if status.Code(err) != c.want {
			t.Errorf("%s by %s: %v, want %v", c.method, c.who, err, c.want)
		}
	}
}

// TestDevScopes: a sign-in asks for the scopes that the policies name or that a user
// has.
func TestDevScopes(t *testing.T) {
	t.Parallel()
	sys, out, er := dev(t, shop(), nil, "--dev-users="+file(t, "users:\n  a:\n    scopes: [shop:read, made:up]\n"))
	if sys.Provider == nil {
		t.Fatal(out, er)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(sys.BaseURL + "/api/auth/login")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := to.Query().Get("scope"), "openid profile email offline_access shop:read made:up"; got != want {
		t.Errorf("scope %q, want %q", got, want)
	}
}

// TestDevWelcome: what dev prints are the users and machines that there are.
func TestDevWelcome(t *testing.T) {
	t.Parallel()
	own, none := shop(), shop()
	own.DevUsers = []byte("users:\n  seller:\n")
	none.DevUsers = []byte("users: {}\nmachines: {}\n")
	for name, c := range map[string]struct {
		app          gatehouse.App
		args         []string
		users, token string
	}{
		"file":            {shop(), []string{"--dev-users=" + file(t, people)}, "anna, ben (", "curl -s -u importer -d"},
		"the application": {own, nil, "seller (of the application)", "curl -s -u demo-machine:demo-machine -d"},
		"file wins":       {own, []string{"--dev-users=" + file(t, people)}, "anna, ben (", "curl -s -u importer -d"},
		"policies":        {shop(), nil, "everything, nothing (made of the policies; your own: dev-users.yaml)", "curl -s -u demo-machine:demo-machine -d"},
		"none":            {none, nil, "none (of the application)", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, out, er := dev(t, c.app, nil, c.args...)
			if !strings.Contains(out, "\n    users      "+c.users) || c.token != "" && !strings.Contains(out, c.token) || c.token == "" && strings.Contains(out, "A token") {
				t.Errorf("want the users %s and %q:\n%s%s", c.users, c.token, out, er)
			}
			if strings.Contains(out, "Note:") {
				t.Errorf("a note about nothing:\n%s", out)
			}
		})
	}
}

// TestDevUsersOfPolicies: without a file one user has what the policies name, and one
// has nothing.
func TestDevUsersOfPolicies(t *testing.T) {
	t.Parallel()
	sys, out, er := dev(t, shop(), nil)
	if sys.Provider == nil {
		t.Fatal(out, er)
	}
	got := map[string][]string{}
	for _, u := range sys.Provider.Users() {
		got[u.Key] = u.Permissions
	}
	if diff := cmp.Diff(map[string][]string{"everything": {"shop:write", "sessions:admin"}, "nothing": {}}, got); diff != "" {
		t.Error(diff)
	}
}

// TestDevUsersProblems: a wrong file stops the start, and names file, line and remedy.
func TestDevUsersProblems(t *testing.T) {
	t.Parallel()
	broken := shop()
	broken.DevUsers = []byte("users:\n  a:\n    email: x\n")
	for name, c := range map[string]struct {
		app  gatehouse.App
		file string
		want string
	}{
		"missing":         {shop(), "/nowhere/people.yaml", "--dev-users=/nowhere/people.yaml: no such file; correct the path"},
		"unknown key":     {shop(), file(t, "users:\n  a:\n    permission: [x]\n"), `people.yaml:3: user "a": unknown key "permission"; did you mean permissions?`},
		"two problems":    {shop(), file(t, "user:\n  a:\nmachines: [a]\n"), "people.yaml:3: machines is not a map"},
		"the application": {broken, "", `App.DevUsers:3: user "a": email "x" is not an address; write one such as a@example.com`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var args []string
			if c.file != "" {
				args = []string{"--dev-users=" + c.file}
			}
			if sys, out, er := dev(t, c.app, nil, args...); sys.Provider != nil || !strings.Contains(er, c.want) {
				t.Errorf("want %s:\n%s%s", c.want, out, er)
			}
		})
	}
}

// TestDevUnusedSettings: settings that dev replaces are named with their sources, and
// no others.
func TestDevUnusedSettings(t *testing.T) {
	t.Parallel()
	const secret = "hunter2hunter2hunter2hunter2hunter2"
	environ := []string{
		"AUTH0_ISSUER_BASE_URL=https://tenant.eu.auth0.com", "AUTH0_CLIENT_ID=web", "AUTH0_CLIENT_SECRET=" + secret, "AUTH0_SECRET=" + secret,
		"AUTH0_BASE_URL=https://shop.example", "AUTH0_SCOPE=openid profile", "GATEHOUSE_PERMISSIONS_CLAIM=realm.roles", "GATEHOUSE_OIDC_CA_FILE=/nowhere",
		"AUTH0_AUDIENCE=https://api.shop.example", "GATEHOUSE_COOKIE_NAME=shop",
	}
	_, out, er := dev(t, shop(), environ, "--oidc-client-auth=client_secret_post", "--oidc-omit-par")
	want := `Note: dev has a provider, secrets and addresses of its own, and does not use
        AUTH0_ISSUER_BASE_URL=https://tenant.eu.auth0.com (environment)
        AUTH0_CLIENT_ID=web (environment)
        AUTH0_CLIENT_SECRET (environment)
        --oidc-client-auth=client_secret_post
        AUTH0_SCOPE=openid profile (environment)
        AUTH0_BASE_URL=https://shop.example (environment)
        AUTH0_SECRET (environment)
        GATEHOUSE_PERMISSIONS_CLAIM=realm.roles (environment)
        GATEHOUSE_OIDC_CA_FILE=/nowhere (environment)
      With these settings: shop serve

`
	if !strings.HasPrefix(out, want) {
		t.Errorf("got\n%s%s\nwant\n%s", out, er, want)
	}
}

// TestDevUnnamed: a permission that no policy names is a warning.
func TestDevUnnamed(t *testing.T) {
	t.Parallel()
	app := shop()
	app.DevUsers = []byte("users:\n  a:\n    permissions: [shop:wirte, sessions:admin]\n")
	_, _, log := dev(t, app, nil)
	if n := strings.Count(log, "no policy names a value"); n != 1 || !strings.Contains(log, "did you mean shop:write?") {
		t.Errorf("%d warnings, want one:\n%s", n, log)
	}
}
