//go:build race

package main

// With the race detector, sync.Pool drops a quarter of what it gets.
const raceDetector = true
