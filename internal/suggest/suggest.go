// Package suggest owns the suggestion of a name for a misspelt one. It leaves
// the message to its callers.
package suggest

import "github.com/agnivade/levenshtein"

// Name returns the name that a misspelt one was most likely meant to be, or ""
// if none is similar.
func Name(misspelt string, names []string) string {
	best, distance := "", 1+max(2, len(misspelt)/4)
	for _, name := range names {
		if d := levenshtein.ComputeDistance(misspelt, name); d < distance {
			best, distance = name, d
		}
	}
	return best
}
