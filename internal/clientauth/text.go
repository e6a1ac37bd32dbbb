package clientauth

import (
	"net/http"
	"net/url"
	"strings"
	"unicode"
)

// maxDescription bounds an error description in a log, in bytes.
const maxDescription = 256

// WithoutCredentials returns a description that is fit for logs: [Printable],
// and without the credentials that were sent, which a provider may repeat.
func WithoutCredentials(description string, sent url.Values, secret string, header http.Header) string {
	_, authorization, _ := strings.Cut(header.Get("Authorization"), " ")
	hidden := []string{secret, url.QueryEscape(secret), authorization}
	for _, name := range []string{"code", "code_verifier", "refresh_token", "token", "subject_token", "client_secret", "client_assertion"} {
		hidden = append(hidden, sent.Get(name), url.QueryEscape(sent.Get(name)))
	}
	for _, value := range hidden {
		if value != "" {
			description = strings.ReplaceAll(description, value, "…")
		}
	}
	return Printable(description)
}

// Printable returns an error_description that is fit for logs: printable
// characters, at most 256 bytes.
func Printable(description string) string {
	description = strings.Map(func(c rune) rune {
		if c == unicode.ReplacementChar || !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, description[:min(len(description), 4*maxDescription)])
	if len(description) > maxDescription {
		description = strings.ToValidUTF8(description[:maxDescription], "") + "…"
	}
	return description
}

// ErrorCode returns an error code that is fit for logs and pages, "" for any
// other text.
func ErrorCode(code string) string {
	if len(code) > 64 || strings.ContainsFunc(code, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.')
	}) {
		return ""
	}
	return code
}
