package heap_test

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/heap"
)

// The reserve takes no memory of the machine, and there is none under a memory limit or with
// another percentage. It is not parallel, because both are the process's.
func TestReserve(t *testing.T) {
	const floor = 32 << 20
	before := resident(t)
	reserved := heap.Reserve()
	if len(reserved) != floor {
		t.Errorf("%d bytes are reserved, want %d", len(reserved), floor)
	}
	if grown := resident(t) - before; grown > floor/2 {
		t.Errorf("the process grew by %d bytes", grown)
	}
	runtime.KeepAlive(reserved)
	for _, percent := range []int{-1, 50, 200} {
		before := debug.SetGCPercent(percent)
		n := len(heap.Reserve())
		if after := debug.SetGCPercent(before); n != 0 || after != percent {
			t.Errorf("with GOGC=%d %d bytes are reserved, and the percentage becomes %d", percent, n, after)
		}
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64 - 1))
	if n := len(heap.Reserve()); n != 0 {
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
