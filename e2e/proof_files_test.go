//go:build proof

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/proof"
)

const (
	fileBytes  = 2 << 30
	fileCount  = 20       // transfers at once
	fileMemory = 32 << 20 // limit for the growth of resident memory of each process

	// garbageReserve is the reserve of package heap: as much garbage may be in memory.
	garbageReserve = 32 << 20
)

// A transferCase is what all transfers of a row do.
type transferCase struct {
	name   string
	upload bool
	size   int64
	plan   plan
	pause  time.Duration // of the client, after each 64 KiB
	limit  int64         // for the growth of each process
}

// TestProofFiles transfers 20 files of 2 GiB at once, in both directions, and then as many with
// clients and a service that are slow.
func TestProofFiles(t *testing.T) {
	var rows [][]string
	for _, topology := range transferTopologies {
		s := startTransfers(t, topology, 5*time.Minute)
		s.warm(t)
		for _, c := range []transferCase{
			{name: "download", size: fileBytes, limit: fileMemory},
			{name: "upload", upload: true, size: fileBytes, limit: fileMemory},
			{name: "download by slow clients", size: 16 << 20, pause: 20 * time.Millisecond, limit: fileMemory},
			{name: "upload to a slow service", upload: true, size: 16 << 20, plan: plan{pause: 20 * time.Millisecond}, limit: fileMemory},
		} {
			if err := s.transfer(t, c, min(c.size, 64<<20)); err != nil {
				t.Fatal(err)
			}
			rows = append(rows, s.measure(t, topology, c))
		}
	}
	proof.Report(t, proof.Section{
		Title: "Files",
		Text: fmt.Sprintf("%d transfers at once of a signed-in user, whose tokens live for five minutes: through bff, gateway and server. Growth is that of resident memory "+
			"at the peak, over that after requests of a few bytes, which take no more by then, and one transfer. Limit: %s for each process. Slow clients and a slow service take 20 ms for each 64 KiB.", fileCount, mib(fileMemory)),
		Columns: []string{"topology", "transfers", "each", "failed", "growth", "time", "all together"},
		Rows:    rows,
	})
}

// TestProofFirstFiles transfers 20 files at once through processes that have just started.
func TestProofFirstFiles(t *testing.T) {
	const limit = fileMemory + garbageReserve
	var rows [][]string
	for _, topology := range transferTopologies {
		for _, c := range []transferCase{
			{name: "download", size: 256 << 20, limit: limit},
			{name: "upload", upload: true, size: 256 << 20, limit: limit},
		} {
			rows = append(rows, startTransfers(t, topology, 5*time.Minute).measure(t, topology, c))
		}
	}
	proof.Report(t, proof.Section{
		Title: "Files, first transfers of a process",
		Text: fmt.Sprintf("%d transfers at once, of processes of their own for each row. Growth is that of resident memory at the peak, over the process after its start and one login. It has what "+
			"the section Files measures, and up to %s of garbage that the program allows itself in a small heap, whatever its requests are. Limit: %s for each process.", fileCount, mib(garbageReserve), mib(limit)),
		Columns: []string{"topology", "transfers", "each", "failed", "growth", "time", "all together"},
		Rows:    rows,
	})
}

// measure makes the transfers of a case at once, and returns its row.
func (s *transferSystem) measure(t *testing.T, topology string, c transferCase) []string {
	t.Helper()
	before := make([]int64, len(s.processes))
	peaks := make([]chan int64, len(s.processes))
	stop := make(chan struct{})
	for i, p := range s.processes {
		before[i], peaks[i] = resident(t, p), make(chan int64, 1)
		go func() { peaks[i] <- peakResident(p, stop) }()
	}
	var all sync.WaitGroup
	var failed atomic.Int64
	began := time.Now()
	for range fileCount {
		all.Go(func() {
			if err := s.transfer(t, c, c.size); err != nil {
				failed.Add(1)
				t.Errorf("%s, %s: %v", topology, c.name, err)
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	close(stop)
	grown := ""
	for i, p := range s.processes {
		more := <-peaks[i] - before[i]
		if i > 0 {
			grown += ", "
		}
		grown += fmt.Sprintf("%s %s", p.name, mib(more))
		if more > c.limit {
			t.Errorf("%s, %s: %s grew by %s, want at most %s", topology, c.name, p.name, mib(more), mib(c.limit))
		}
	}
	return []string{topology, c.name, mib(c.size), fmt.Sprint(failed.Load()), grown,
		fmt.Sprintf("%.0f s", took.Seconds()), fmt.Sprintf("%.0f MiB/s", float64(c.size)*fileCount/(1<<20)/took.Seconds())}
}

// transfer makes one transfer of a case.
func (s *transferSystem) transfer(t *testing.T, c transferCase, size int64) error {
	if c.upload {
		r := s.request(t.Context(), t, http.MethodPut, c.plan, &patternFile{left: size})
		r.ContentLength = size
		resp, err := s.user.client.Do(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err == nil && (resp.StatusCode != 200 || len(answer) != 64) {
			err = fmt.Errorf("%s %s", resp.Status, answer)
		}
		return err
	}
	p := c.plan
	p.size = size
	resp, err := s.user.client.Do(s.request(t.Context(), t, http.MethodGet, p, nil))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	buffer := make([]byte, 64<<10)
	for n := int64(0); ; {
		k, err := io.ReadFull(resp.Body, buffer)
		if n += int64(k); err == io.EOF || err == io.ErrUnexpectedEOF {
			if n != size {
				return fmt.Errorf("%s: %d bytes", resp.Status, n)
			}
			return nil
		} else if err != nil {
			return err
		}
		time.Sleep(c.pause)
	}
}

// warm sends requests of a few bytes until the processes take no more memory: the program collects
// garbage only when there are 32 MiB of it.
func (s *transferSystem) warm(t *testing.T) {
	t.Helper()
	for last := int64(0); ; {
		var all int64
		for range 1000 {
			s.user.fetch(t, "/api/transfers/log")
			s.user.seen = nil
		}
		for _, p := range s.processes {
			all += resident(t, p)
		}
		if last > 0 && all < last+1<<20 {
			return
		}
		last = all
	}
}
