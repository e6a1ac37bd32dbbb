// Package heap owns how often the garbage collector of the program runs while its heap is
// small. It leaves that to the operator who sets GOGC, and limits on memory to GOMEMLIMIT.
package heap

import (
	"math"
	"runtime/debug"
)

// floor is reserved and never touched, in bytes, so that it takes no memory of
// the machine. The garbage collector runs when the heap has doubled, and a few
// megabytes double many times a second; with the floor it runs a tenth as often,
// at the price of as much garbage in memory.
//
// A higher GOGC saves no more than that, and its price grows with the heap:
// with 800 a heap of 1 GB, such as that of sessions in memory, grows to 9 GB
// instead of 2.
const floor = 32 << 20

// defaultPercent is the value of GOGC without a setting.
const defaultPercent = 100

// Reserve returns the floor, which must be kept while the program runs. It
// returns nil if there is a memory limit (GOMEMLIMIT), which the floor would
// count towards, or another percentage than the default (GOGC), which would
// apply to the floor.
func Reserve() []byte {
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return nil
	}
	if percent := debug.SetGCPercent(defaultPercent); percent != defaultPercent {
		debug.SetGCPercent(percent)
		return nil
	}
	return make([]byte, floor)
}
