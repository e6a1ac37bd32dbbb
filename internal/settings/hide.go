package settings

import (
	"net/url"
	"strings"
)

// Place returns the part of a URL with a password that can be shown: where it
// leads, if that can be told.
func Place(value string) string {
	if value == "" || value == "memory" || value == "memory:" || strings.HasPrefix(value, "sqlite:") {
		return value
	}
	if u, err := url.Parse(value); err == nil && u.Host != "" {
		return u.Scheme + "://" + u.Host
	}
	return "(not shown)"
}

// Redacted hides a password in a URL.
func Redacted(value string) string {
	u, err := url.Parse(value)
	switch {
	case err == nil && u.User != nil:
		return u.Redacted()
	case strings.Contains(value, "@") && (err != nil || u.Host == ""): // perhaps a password, not escaped or without //
		return "(not shown)"
	}
	return value
}

// RedactedList is [Redacted] for several URLs, separated by commas.
func RedactedList(value string) string {
	items := strings.Split(value, ",")
	for i, item := range items {
		items[i] = Redacted(item)
	}
	return strings.Join(items, ",")
}
