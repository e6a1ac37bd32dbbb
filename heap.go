package gatehouse

import (
	"math"
	"runtime/debug"
)

// heapFloor is memory, in bytes, that is reserved and never touched, so that it
// takes none of the machine's: the garbage collector runs when the heap has
// doubled, and a few megabytes double many times a second. With this it runs a
// tenth as often, at the price of as much garbage in memory at a time.
const heapFloor = 32 << 20

// reserveHeap returns it, to be kept while the program runs; nothing where
// somebody has set a memory limit (GOMEMLIMIT), which it would count towards.
func reserveHeap() []byte {
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return nil
	}
	return make([]byte, heapFloor)
}
