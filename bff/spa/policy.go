package spa

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// policy returns the default Content-Security-Policy of a page with inline
// scripts of these hashes. It allows inline styles, which most component
// libraries need, and images from any https address, for portraits of users.
func policy(scriptHashes []string) string {
	scripts := []string{"script-src 'self' 'wasm-unsafe-eval'"}
	for _, hash := range scriptHashes {
		scripts = append(scripts, "'"+hash+"'")
	}
	return "default-src 'self'; " + strings.Join(scripts, " ") + "; style-src 'self' 'unsafe-inline'; " +
		"img-src 'self' data: blob: https:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; " +
		"connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
}

// inlineScripts returns the hashes of a page's inline scripts in the form of a
// Content-Security-Policy. The page is a file of the build, and has nothing from
// requests.
func inlineScripts(page io.Reader) []string {
	var hashes []string
	tokens := html.NewTokenizer(page)
	for {
		if tokens.Next() == html.ErrorToken {
			return hashes
		}
		token := tokens.Token()
		hasSource := slices.ContainsFunc(token.Attr, func(a html.Attribute) bool { return a.Key == "src" })
		if token.Type != html.StartTagToken || token.Data != "script" || hasSource {
			continue
		}
		if tokens.Next() != html.TextToken {
			continue
		}
		// Browsers hash the text with normalized line ends.
		text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(tokens.Raw()))
		sum := sha256.Sum256([]byte(text))
		hashes = append(hashes, "sha256-"+base64.StdEncoding.EncodeToString(sum[:]))
	}
}
