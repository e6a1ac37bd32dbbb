package web_test

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// palettes returns the custom properties of the light and the dark scheme in the
// served style sheet.
func palettes(t *testing.T) (light, dark map[string]string) {
	t.Helper()
	p := newPages(t, nil)
	var css string
	for _, u := range assetsOf(t, parse(t, get(p, "/"))) {
		if strings.HasSuffix(u, ".css") {
			css = get(p, u).Body.String()
		}
	}
	colour := regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6});`)
	read := func(after string) map[string]string {
		_, block, ok := strings.Cut(css, after)
		if !ok {
			t.Fatalf("no %q in the style sheet", after)
		}
		block, _, _ = strings.Cut(block, "}")
		m := make(map[string]string)
		for _, c := range colour.FindAllStringSubmatch(block, -1) {
			m[c[1]] = c[2]
		}
		return m
	}
	return read(":root {"), read("@media (prefers-color-scheme: dark) {\n  :root {")
}

// luminance returns the relative luminance of a color (WCAG 2.2).
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimPrefix(hex, "#"), 16, 32)
	if err != nil {
		t.Fatalf("colour %q: %v", hex, err)
	}
	channel := func(shift uint) float64 {
		c := float64(n>>shift&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*channel(16) + 0.7152*channel(8) + 0.0722*channel(0)
}

func TestContrast(t *testing.T) {
	t.Parallel()
	light, dark := palettes(t)
	for scheme, colours := range map[string]map[string]string{"light": light, "dark": dark} {
		for _, pair := range []struct {
			text    string
			grounds string
			least   float64
		}{
			{"text", "ground surface sunken", 7},
			{"muted", "ground surface sunken", 4.5},
			{"accent", "ground surface accent-soft", 4.5},
			{"accent-strong", "surface accent-soft", 4.5},
			{"on-accent", "accent accent-strong", 4.5},
			{"good", "surface", 4.5},
			{"bad", "surface", 4.5},
			{"notice", "notice-soft", 4.5},
			{"code-key", "sunken", 4.5},
			{"code-text", "sunken", 4.5},
		} {
			for ground := range strings.FieldsSeq(pair.grounds) {
				a, b := luminance(t, colours[pair.text]), luminance(t, colours[ground])
				ratio := (max(a, b) + 0.05) / (min(a, b) + 0.05)
				if ratio < pair.least {
					t.Errorf("%s: %s on %s is %.2f:1, want %.1f:1", scheme, pair.text, ground, ratio, pair.least)
				}
			}
		}
	}
}

// A color that one scheme lacks would be taken from the other.
func TestSchemesHaveTheSameColors(t *testing.T) {
	t.Parallel()
	light, dark := palettes(t)
	if len(light) < 10 {
		t.Fatalf("read only %d colours", len(light))
	}
	for name := range light {
		if dark[name] == "" {
			t.Errorf("--%s: no dark value", name)
		}
	}
	for name := range dark {
		if light[name] == "" {
			t.Errorf("--%s: no light value", name)
		}
	}
}
