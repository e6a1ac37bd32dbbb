//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
)

// signIn signs a demo user in and returns the session cookie.
func signIn(ctx context.Context, base string) (cookie string, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{Jar: jar}
	if _, err := choose(ctx, client, base+"/api/auth/login"); err != nil {
		return "", err
	}
	u, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	for _, c := range jar.Cookies(u) {
		if c.Name == "gatehouse" {
			return c.Name + "=" + c.Value, nil
		}
	}
	return "", fmt.Errorf("no session cookie after the login at %s", base)
}

// accessToken gets an access token as another client of the provider.
func accessToken(ctx context.Context, issuer string, c devidp.Client) (string, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	verifier := rand.Text() + rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	redirect := c.RedirectURIs[0]
	client := &http.Client{Jar: jar, CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(req.URL.String(), redirect) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	answered, err := choose(ctx, client, issuer+"/authorize?"+url.Values{
		"response_type": {"code"}, "client_id": {c.ID}, "redirect_uri": {redirect}, "scope": {"openid"}, "state": {"s"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}.Encode())
	if err != nil {
		return "", err
	}
	location, err := answered.Location()
	if err != nil {
		return "", fmt.Errorf("the provider gave no code: %s: %w", answered.Status, err)
	}
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {location.Query().Get("code")}, "redirect_uri": {redirect}, "code_verifier": {verifier},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, issuer+"/oauth/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(c.ID, c.Secret)
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var tokens struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&tokens); err != nil || tokens.AccessToken == "" {
		return "", fmt.Errorf("the provider gave no token: %s, %w", resp.Status, err)
	}
	return tokens.AccessToken, nil
}

var requestField = regexp.MustCompile(`name="request" value="([^"]+)"`)

// choose loads the provider's login page and chooses the seller.
func choose(ctx context.Context, client *http.Client, address string) (*http.Response, error) {
	page, body, err := do(ctx, client, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	found := requestField.FindStringSubmatch(body)
	if found == nil {
		return nil, fmt.Errorf("%s leads to no login page: %s", address, page.Status)
	}
	// The button's name and value, as a browser sends them.
	login := page.Request.URL.ResolveReference(&url.URL{Path: "/login"}).String()
	answered, _, err := do(ctx, client, http.MethodPost, login, url.Values{"request": {found[1]}, "user": {"seller"}})
	return answered, err
}

func do(ctx context.Context, client *http.Client, method, address string, form url.Values) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Accept", "text/html")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", req.URL.Scheme+"://"+req.URL.Host)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp, string(body), err
}
