//go:build linux

package rows

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2/clientcredentials"

	"github.com/gatehouse-dev/gatehouse/bench/internal/load"
	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

// Audience is the aud of all access tokens.
const Audience = "https://api.gatehouse.localhost"

// tokenLifetime is longer than a run, so that there is no refresh.
const tokenLifetime = 12 * time.Hour

// A Provider is an OpenID provider of one row, with a client that signs users in. It runs in this
// process, which is not measured. It has an address of its own, so that its cookies are apart from
// those of the row, which has 127.0.0.1: a port does not separate cookies.
type Provider struct {
	Issuer       string
	ClientID     string
	ClientSecret string
	machine      directory.Machine
}

// signingKey is that of all providers of a run.
var signingKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// Provider starts a provider for a client with these redirect URIs.
func (e *Env) Provider(ctx context.Context, redirectURIs ...string) (*Provider, error) {
	p := &Provider{ClientID: "bench", ClientSecret: rand.Text(), machine: directory.Machine{ID: "direct", Secret: rand.Text()}}
	var err error
	p.Issuer, err = serve(ctx, "127.0.0.2", func(origin string) (http.Handler, error) {
		return devidp.New(devidp.Config{
			Issuer:   origin,
			Clients:  []devidp.Client{{ID: p.ClientID, Secret: p.ClientSecret, RedirectURIs: redirectURIs}},
			Machines: []directory.Machine{p.machine},
			Users:    []directory.User{{Key: "seller", Permissions: []string{"products:write"}}},
			Audience: Audience, Behavior: devidp.Behavior{AccessTokenLifetime: tokenLifetime}, NewKey: signingKey,
		})
	})
	return p, err
}

// Bearer returns the credentials of a row for Bearer: a token for all connections.
func (e *Env) Bearer(ctx context.Context, p *Provider) ([]string, error) {
	grant := clientcredentials.Config{ClientID: p.machine.ID, ClientSecret: p.machine.Secret, TokenURL: p.Issuer + "/oauth/token"}
	token, err := grant.Token(ctx)
	if err != nil {
		return nil, err
	}
	credentials := make([]string, e.Connections)
	for i := range credentials {
		credentials[i] = "Authorization: Bearer " + token.AccessToken
	}
	return credentials, nil
}

// SignIn returns the credentials of a row for SignedIn: the cookies of a session for each
// connection. login is the address that leads to the provider's page.
func (e *Env) SignIn(ctx context.Context, login string) ([]string, error) {
	credentials := make([]string, e.Connections)
	for i := range credentials {
		var err error
		if credentials[i], err = signIn(ctx, login, "seller"); err != nil {
			return nil, fmt.Errorf("sign in: %w", err)
		}
	}
	return credentials, nil
}

// shortLived is the lifetime of cookies that a browser no longer sends in a session's usual
// request: those of the login.
const shortLived = 10 * time.Minute

// A jar is a browser's cookies. It knows which of them are short-lived.
type jar struct {
	*cookiejar.Jar
	passing map[string]bool // by name
}

func (j *jar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	for _, c := range cookies {
		until := time.Until(c.Expires)
		j.passing[c.Name] = c.MaxAge > 0 && time.Duration(c.MaxAge)*time.Second <= shortLived || c.MaxAge == 0 && until > 0 && until <= shortLived
	}
	j.Jar.SetCookies(u, cookies)
}

var requestField = regexp.MustCompile(`name="request" value="([^"]+)"`)

// signIn signs a user in as a browser does, and returns the header with the cookies for the
// measured GET.
func signIn(ctx context.Context, login, user string) (header string, err error) {
	cookieJar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	cookies := &jar{cookieJar, map[string]bool{}}
	client := &http.Client{Jar: cookies, Timeout: time.Minute}
	send := func(method, address string, form url.Values) (*http.Response, string, error) {
		req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
		if err != nil {
			return nil, "", err
		}
		req.Header.Set("Accept", "text/html")
		if form != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return resp, string(body), err
	}
	resp, body, err := send(http.MethodGet, login, nil)
	if err != nil {
		return "", err
	}
	found := requestField.FindStringSubmatch(body)
	if found == nil {
		return "", fmt.Errorf("%s leads to no login page, but to %s: %s", login, resp.Request.URL.Redacted(), resp.Status)
	}
	// The button's name and value, as a browser sends them.
	form := resp.Request.URL.ResolveReference(&url.URL{Path: "/login"})
	resp, _, err = send(http.MethodPost, form.String(), url.Values{"request": {found[1]}, "user": {user}})
	if err != nil {
		return "", err
	}
	at, err := url.Parse(login)
	if err != nil {
		return "", err
	}
	var sent []string
	for _, c := range cookies.Cookies(at.ResolveReference(&url.URL{Path: load.Path})) {
		if !cookies.passing[c.Name] {
			sent = append(sent, c.Name+"="+c.Value)
		}
	}
	if len(sent) == 0 {
		return "", fmt.Errorf("no cookie after the login at %s: %s", login, resp.Status)
	}
	return "Cookie: " + strings.Join(sent, "; "), nil
}
