//go:build linux

package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"time"
)

var requestField = regexp.MustCompile(`name="request" value="([^"]+)"`)

// signIn signs a demo user in and returns the session cookie.
func signIn(base string) (cookie string, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{Jar: jar, Timeout: time.Minute}
	page, err := client.Get(base + "/api/auth/login")
	if err != nil {
		return "", err
	}
	defer page.Body.Close()
	body, err := io.ReadAll(page.Body)
	if err != nil {
		return "", err
	}
	found := requestField.FindSubmatch(body)
	if found == nil {
		return "", fmt.Errorf("%s leads to no login page: %s", base, page.Status)
	}
	// The button's name and value, as a browser sends them.
	login := page.Request.URL.ResolveReference(&url.URL{Path: "/login"})
	answered, err := client.PostForm(login.String(), url.Values{"request": {string(found[1])}, "user": {"seller"}})
	if err != nil {
		return "", err
	}
	defer answered.Body.Close()
	for _, c := range jar.Cookies(answered.Request.URL) {
		if c.Name == "gatehouse" {
			return c.Name + "=" + c.Value, nil
		}
	}
	return "", fmt.Errorf("no session cookie after the login at %s: %s", base, answered.Status)
}
