//go:build !linux

package main

import (
	"fmt"
	"os"
)

// Only Linux provides the processor time of another process.
func main() {
	fmt.Fprintln(os.Stderr, "bench: this measures on Linux only")
	os.Exit(1)
}
