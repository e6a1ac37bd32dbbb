//go:build !linux

package main

import (
	"fmt"
	"os"
)

// Only Linux tells one process what another has used of the processor.
func main() {
	fmt.Fprintln(os.Stderr, "bench: this measures on Linux only")
	os.Exit(1)
}
