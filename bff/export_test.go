package bff

import "net/http"

// LocalPath is what decides about every returnTo.
func LocalPath(raw string) bool { return localPath(raw) }

// Matches parses a pattern of Config.Protect and tells whether it covers a
// path.
func Matches(pattern, path string) (bool, error) {
	p, err := parsePattern(pattern)
	return err == nil && p.match(path), err
}

// Device is what the list of a person's sessions says of a User-Agent.
func Device(userAgent string) string { return device(userAgent) }

// Lasts tells whether answers of a media type end with their session.
func Lasts(contentType string) bool { return lasts(http.Header{"Content-Type": {contentType}}) }
