// Package app owns how the parts become a running program: which of them run
// in this process, how they reach each other, on which addresses they listen,
// and in which order they start and end. It is the only package that imports
// every layer. It leaves where settings come from to cmd/gatehouse, and all
// behaviour to the parts.
package app
