// Package layout owns the rules of the house: which package may import which,
// and what none may do. It is tests alone, and leaves everything else that can
// be wrong with a package to that package's own.
package layout
