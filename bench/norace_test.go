//go:build !race

package main

const raceAllocs, raceBytes = 0, 0
