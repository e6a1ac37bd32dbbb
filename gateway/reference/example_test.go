package reference_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/gatehouse-dev/gatehouse/gateway/reference"
)

// The page in a program of its own, beside an OpenAPI document.
func Example() {
	page, err := reference.New(reference.Config{Title: "Shop", Path: "/docs", Document: "/openapi.json"})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /docs", page)
	mux.Handle("GET /docs/", page) // its files

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/docs", nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"))
	// Output: 200 text/html; charset=utf-8
}
