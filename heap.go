package gatehouse

import (
	"math"
	"runtime/debug"
)

// heapFloor is reserved and never touched, in bytes, so that it takes no memory of
// the machine. The garbage collector runs when the heap has doubled, and a few
// megabytes double many times a second; with the floor it runs a tenth as often,
// at the price of as much garbage in memory.
//
// debug.SetGCPercent(800) saves the same processor time of a small heap (13% of a
// request), but then a heap of 1 GB, such as that of sessions in memory, grows to
// 9 GB instead of 2.
const heapFloor = 32 << 20

// reserveHeap returns the floor, which must be kept while the program runs. It
// returns nil if there is a memory limit (GOMEMLIMIT), which the floor would
// count towards.
func reserveHeap() []byte {
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return nil
	}
	return make([]byte, heapFloor)
}
