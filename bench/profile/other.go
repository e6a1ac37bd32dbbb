//go:build !linux

package main

import (
	"fmt"
	"os"
)

// The benchmark runs on Linux alone.
func main() {
	fmt.Fprintln(os.Stderr, "profile: needs Linux")
	os.Exit(1)
}
