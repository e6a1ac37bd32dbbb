package spa_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/gatehouse-dev/gatehouse/bff/spa"
)

// A path without a file is answered with index.html, so that the application's
// own router handles it.
func ExampleNew() {
	dir, err := os.MkdirTemp("", "spa")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("<h1>Shop</h1>"), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	app, err := spa.New(spa.Config{Dir: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	w := httptest.NewRecorder()
	app.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/orders/17", nil))
	fmt.Println(w.Code, w.Body.String())
	// Output: 200 <h1>Shop</h1>
}
