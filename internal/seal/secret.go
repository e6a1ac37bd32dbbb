package seal

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	minCharacters = 32
	// minDistinct refuses "aaaa…" and "0101…". A random secret of 32 hexadecimal
	// digits has fewer than 8 different ones with a probability of about 10⁻¹⁰.
	minDistinct = 8
	remedy      = "make one with: openssl rand -hex 32"
)

// placeholders are texts from examples, compared in lower case and without spaces,
// '-', '_' and '.'. The first is in the tutorial's .env and the README of
// nextjs-auth0.
var placeholders = []string{
	"opensslrand",
	"changeme",
	"changethis",
	"replaceme",
	"replacethis",
	"placeholder",
	"yoursecret",
	"mysecret",
	"supersecret",
	"longrandomvalue",
	"longsecretvalue",
	"thisisasecret",
	"0123456789abcdef",
	"12345678901234567890",
	"abcdefghijklmnop",
}

// Weakness returns what is wrong with a secret, in words that follow "the secret";
// "" if nothing is.
func Weakness(secret string) string {
	if n := utf8.RuneCountInString(secret); n < minCharacters {
		return fmt.Sprintf("has %d characters and needs at least %d", n, minCharacters)
	}
	distinct := make(map[rune]struct{})
	for _, r := range secret {
		distinct[r] = struct{}{}
	}
	if len(distinct) < minDistinct {
		return fmt.Sprintf("has too few different characters: %d of at least %d", len(distinct), minDistinct)
	}
	plain := strings.NewReplacer(" ", "", "-", "", "_", "", ".", "").Replace(strings.ToLower(secret))
	for _, p := range placeholders {
		if strings.Contains(plain, p) {
			return "is a placeholder from an example"
		}
	}
	return ""
}
