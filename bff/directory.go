package bff

import (
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
)

// Directory returns a front end of static files: a built single-page
// application. A path without a file is answered with index.html, so that the
// application's own router sees it, unless its last segment has an extension:
// a missing script is a 404 and not a page. Files outside the directory are
// out of reach, also through links, and so are those whose name begins with a
// dot (.env, .git), /.well-known apart.
func Directory(dir string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			writeError(w, http.StatusMethodNotAllowed, "pages answer GET and HEAD only")
			return
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			writeError(w, http.StatusInternalServerError, "the front end is not there")
			return
		}
		defer root.Close()
		files := root.FS()
		name := strings.Trim(path.Clean(r.URL.Path), "/")
		if hidden(name) {
			writeError(w, http.StatusNotFound, "no such file")
			return
		}
		if info, err := fs.Stat(files, name); name == "" || err != nil || info.IsDir() {
			if path.Ext(name) != "" {
				writeError(w, http.StatusNotFound, "no such file")
				return
			}
			name = "index.html"
		}
		if path.Ext(name) == ".html" {
			w.Header().Set("Cache-Control", "no-store") // which scripts it names changes with each build
			w.Header().Set("Content-Security-Policy", "frame-ancestors 'none'")
		} else {
			w.Header().Set("Cache-Control", "no-cache")
		}
		http.ServeFileFS(w, r, files, name)
	})
}

func hidden(name string) bool {
	for segment := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(segment, ".") && segment != ".well-known" {
			return true
		}
	}
	return false
}
