package catalog

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// pairs are the texts of the pages and what is behind them, with the least
// contrast of WCAG 2.2: 4.5 is level AA, 7 is level AAA.
var pairs = []struct {
	text, behind string
	least        float64
}{
	{"text", "background surface sunken", 7},
	{"muted", "background surface sunken", 4.5},
	{"accent", "background surface accent-soft", 4.5},
	{"accent-strong", "background surface accent-soft sunken", 4.5},
	{"on-accent", "accent accent-strong", 4.5},
	{"good", "surface sunken", 4.5},
	{"bad", "surface sunken", 4.5},
	{"notice", "notice-soft", 4.5},
}

// colorForm is the form of a color.
var colorForm = regexp.MustCompile(`^#[0-9A-Fa-f]{6}$`)

// schemes returns the colors of both schemes by name.
func (c *Catalog) schemes() map[string]map[string]string {
	return map[string]map[string]string{"light": c.Light, "dark": c.Dark}
}

// colors reads the colors of both schemes.
func (r *reader) colors(node *yaml.Node) {
	r.mapping(node, "colors", func(scheme, colors *yaml.Node) {
		into := r.c.schemes()[scheme.Value]
		if into == nil {
			r.unknown(scheme, "key of colors", []string{"light", "dark"})
			return
		}
		r.mapping(colors, "colors."+scheme.Value, func(key, value *yaml.Node) {
			if r.base != nil && r.base.Light[key.Value] == "" {
				r.unknown(key, "color", slices.Sorted(maps.Keys(r.base.Light)))
				return
			}
			name := scheme.Value + "." + key.Value
			const remedy = "give it in the form \"#4f46e5\", in quotes, because # begins a comment"
			if value.Tag == "!!null" {
				r.fail(value.Line, "colors.%s is empty; %s", name, remedy)
				return
			}
			switch color, ok := r.scalar(value, "colors."+name); {
			case ok && !colorForm.MatchString(color):
				r.fail(value.Line, "colors.%s %q is no color; %s", name, color, remedy)
			case ok:
				into[key.Value] = strings.ToLower(color)
				r.lines[name] = value.Line
			}
		})
	})
}

// deriveColors makes the colors that belong to an accent and are not in the file.
func (r *reader) deriveColors() {
	if r.base == nil {
		return
	}
	for scheme, colors := range r.c.schemes() {
		if r.lines[scheme+".accent"] == 0 {
			continue
		}
		accent := colors["accent"]
		away, soft := "#000000", 0.1
		if scheme == "dark" {
			away, soft = "#ffffff", 0.16
		}
		derived := map[string]string{
			"accent-strong": mix(accent, away, 0.16),
			"accent-soft":   mix(colors["surface"], accent, soft),
			"on-accent":     "#ffffff",
		}
		if contrast("#ffffff", accent) < contrast("#0e0e15", accent) {
			derived["on-accent"] = "#0e0e15"
		}
		for name, color := range derived {
			if r.lines[scheme+"."+name] == 0 {
				colors[name] = color
			}
		}
	}
}

// checkContrast fails for texts that are hard to read. Each color is reported
// once, with its worst background.
func (r *reader) checkContrast() {
	for scheme, colors := range r.c.schemes() {
		for _, pair := range pairs {
			worst, behind := math.Inf(1), ""
			for name := range strings.FieldsSeq(pair.behind) {
				if got := contrast(colors[pair.text], colors[name]); got < worst {
					worst, behind = got, name
				}
			}
			if worst >= pair.least {
				continue
			}
			text, ground := scheme+"."+pair.text, scheme+"."+behind
			line := r.line(text)
			if line == 0 {
				line = r.line(ground)
			}
			remedy := "make them differ more in lightness"
			if better := readable(colors[pair.text], colors[behind], pair.least); r.lines[text] > 0 && better != "" {
				remedy = fmt.Sprintf("%q would do", better)
			}
			r.fail(line, "colors.%s %q on %s %q has a contrast of %.1f:1, and text needs %.1f:1 (WCAG 2.2); %s",
				text, colors[pair.text], behind, colors[behind], math.Floor(worst*10)/10, pair.least, remedy)
		}
	}
}

// line returns the line of a color, or of the accent from which it follows; 0 for a
// color of the built-in catalog.
func (r *reader) line(name string) int {
	if line := r.lines[name]; line > 0 {
		return line
	}
	scheme, color, _ := strings.Cut(name, ".")
	if strings.Contains(color, "accent") {
		return r.lines[scheme+".accent"]
	}
	return 0
}

// readable returns the color nearest to text, lighter or darker, that has enough
// contrast on a background; "" if neither black nor white has.
func readable(text, behind string, least float64) string {
	for step := 0.02; step <= 1.001; step += 0.02 {
		for _, end := range []string{"#000000", "#ffffff"} {
			if c := mix(text, end, min(step, 1)); contrast(c, behind) >= least {
				return c
			}
		}
	}
	return ""
}

// contrast returns the contrast ratio of two colors (WCAG 2.2), 0 for what is no
// color.
func contrast(a, b string) float64 {
	la, lb := luminance(a), luminance(b)
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

// channels returns red, green and blue, from 0 to 1.
func channels(color string) (rgb [3]float64) {
	n, err := strconv.ParseUint(strings.TrimPrefix(color, "#"), 16, 32)
	if err != nil {
		return rgb // colors are read by colorForm only
	}
	for i := range rgb {
		rgb[i] = float64(n>>(16-8*i)&0xff) / 255
	}
	return rgb
}

// luminance returns the relative luminance of a color (WCAG 2.2).
func luminance(color string) float64 {
	linear := channels(color)
	for i, c := range linear {
		if c <= 0.04045 {
			linear[i] = c / 12.92
		} else {
			linear[i] = math.Pow((c+0.055)/1.055, 2.4)
		}
	}
	return 0.2126*linear[0] + 0.7152*linear[1] + 0.0722*linear[2]
}

// mix returns the color between a and b. share is that of b.
func mix(a, b string, share float64) string {
	ca, cb := channels(a), channels(b)
	var mixed [3]byte
	for i := range ca {
		mixed[i] = byte(math.Round(255 * (ca[i]*(1-share) + cb[i]*share)))
	}
	return fmt.Sprintf("#%x", mixed)
}
