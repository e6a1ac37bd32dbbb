package spa

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"strings"

	"golang.org/x/net/html"
)

// policy is the Content Security Policy of a page with these inline scripts.
// Styles may be inline, for which most component libraries leave no choice;
// images may come from any https address, where providers keep portraits.
func policy(scriptHashes []string) string {
	scripts := "script-src 'self' 'wasm-unsafe-eval'"
	for _, hash := range scriptHashes {
		scripts += " '" + hash + "'"
	}
	return "default-src 'self'; " + scripts + "; style-src 'self' 'unsafe-inline'; " +
		"img-src 'self' data: blob: https:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; " +
		"connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
}

// inlineScripts returns the hashes of a page's inline scripts, as a Content
// Security Policy names them. They are trusted as the file is that they stand
// in: nothing that a visitor sends is put into it.
func inlineScripts(page io.Reader) []string {
	var hashes []string
	tokens := html.NewTokenizer(page)
	for {
		if tokens.Next() == html.ErrorToken {
			return hashes
		}
		token := tokens.Token()
		if token.Type != html.StartTagToken || token.Data != "script" || hasSource(token) {
			continue
		}
		if tokens.Next() != html.TextToken {
			continue
		}
		// Browsers hash the text as the parser leaves it, line ends made one.
		text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(tokens.Raw()))
		sum := sha256.Sum256([]byte(text))
		hashes = append(hashes, "sha256-"+base64.StdEncoding.EncodeToString(sum[:]))
	}
}

func hasSource(token html.Token) bool {
	for _, attribute := range token.Attr {
		if attribute.Key == "src" {
			return true
		}
	}
	return false
}
