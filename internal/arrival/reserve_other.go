//go:build !unix

package arrival

// openFiles is not known: on Windows there is no such limit.
func openFiles() uint64 { return 0 }
