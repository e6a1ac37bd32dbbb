package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing/fstest"

	"github.com/gatehouse-dev/gatehouse/bff/web"
)

// The application's template replaces the page for errors. Its files are usually embedded
// (embed.FS).
func ExampleConfig_errorPages() {
	pages, err := web.New(web.Config{
		ErrorPages: fstest.MapFS{
			"templates/problem.html": {Data: []byte(`<!doctype html><html lang="en"><title>{{.Title}}</title><h1>Shop: {{.Title}}</h1><p>{{.Message}}</p>`)},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	w := httptest.NewRecorder()
	pages.Problem(w, httptest.NewRequest(http.MethodGet, "/api/auth/callback", nil), web.Problem{
		Code: "login_cancelled", Status: http.StatusForbidden, Title: "The sign-in was cancelled",
	})
	fmt.Println(w.Code, strings.Contains(w.Body.String(), "<h1>Shop: The sign-in was cancelled</h1>"))
	// Output: 403 true
}

// An application adds a page of its own. Its files are usually embedded
// (embed.FS).
func ExampleNew() {
	orders := web.Section{
		Files: fstest.MapFS{
			"templates/orders.html": {Data: []byte(`{{define "content"}}<h1>Orders of {{.User.Display}}</h1>{{end}}`)},
		},
		Pages: []web.Page{{Path: "/orders", Template: "orders.html", Title: "Orders", Nav: "Orders"}},
	}
	pages, err := web.New(web.Config{
		Sections: []web.Section{orders},
		User:     func(*http.Request) (web.User, bool) { return web.User{Name: "Sofia"}, true },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	w := httptest.NewRecorder()
	pages.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/orders", nil))
	fmt.Println(w.Code, strings.Contains(w.Body.String(), "<h1>Orders of Sofia</h1>"))
	// Output: 200 true
}
