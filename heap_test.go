package gatehouse

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
)

// TestReserveHeap: the reserve takes no memory of the machine, and there is none
// under a memory limit. It is not parallel, because the limit is the process's.
func TestReserveHeap(t *testing.T) {
	before := resident(t)
	reserved := reserveHeap()
	if len(reserved) != heapFloor {
		t.Errorf("%d bytes are reserved, want %d", len(reserved), heapFloor)
	}
	if grown := resident(t) - before; grown > heapFloor/2 {
		t.Errorf("the process grew by %d bytes", grown)
	}
	runtime.KeepAlive(reserved)
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64 - 1))
	if n := len(reserveHeap()); n != 0 {
		t.Errorf("%d bytes are reserved under a limit", n)
	}
}

// resident is the memory that the process takes, in bytes.
func resident(t *testing.T) int {
	t.Helper()
	content, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(content))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
