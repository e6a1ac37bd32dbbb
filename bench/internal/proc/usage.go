//go:build linux

package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what processes and their descendants have used since they started.
type Usage struct {
	CPU    time.Duration // user and system
	Logged int64         // bytes in their log files
}

// Sub returns the difference to an earlier usage.
func (u Usage) Sub(earlier Usage) Usage {
	return Usage{CPU: u.CPU - earlier.CPU, Logged: u.Logged - earlier.Logged}
}

// Used returns the usage of processes with all of their descendants.
func Used(processes []*Process) (total Usage, err error) {
	trees, err := trees(processes)
	if err != nil {
		return Usage{}, err
	}
	for pid, s := range trees {
		// The clock of another process's processor time, see clock_getcpuclockid(3). /proc counts
		// in hundredths of a second.
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
			continue // it has ended since, and is counted at its parent
		}
		total.CPU += time.Duration(t.Nano()) + s.reaped
	}
	for _, p := range processes {
		for _, log := range p.logs {
			info, err := os.Stat(log)
			if err != nil {
				return Usage{}, err
			}
			total.Logged += info.Size()
		}
	}
	return total, nil
}

// Memory returns the memory of processes with all of their descendants in bytes: their
// proportional set size, in which pages that n processes share count as 1/n.
func Memory(processes []*Process) (total int64, err error) {
	trees, err := trees(processes)
	if err != nil {
		return 0, err
	}
	for pid := range trees {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		_, pss, _ := bytes.Cut(content, []byte("\nPss:"))
		var kilobytes int64
		if _, err := fmt.Sscan(string(pss), &kilobytes); err != nil {
			return 0, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		total += kilobytes << 10
	}
	return total, nil
}

// trees returns the processes and all of their descendants by process id.
func trees(processes []*Process) (map[int]stat, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	all, children := map[int]stat{}, map[int][]int{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue // no process
		}
		if s, ok := readStat(pid); ok {
			all[pid] = s
			children[s.parent] = append(children[s.parent], pid)
		}
	}
	found := map[int]stat{}
	var add func(pid int)
	add = func(pid int) {
		found[pid] = all[pid]
		for _, child := range children[pid] {
			add(child)
		}
	}
	for _, p := range processes {
		if s, ok := all[p.cmd.Process.Pid]; !ok || s.state == 'Z' {
			return nil, fmt.Errorf("%s has ended; its log ends with: %s", p.Name, p.LogEnd())
		}
		add(p.cmd.Process.Pid)
	}
	return found, nil
}

// stat is a part of /proc/PID/stat, see proc_pid_stat(5).
type stat struct {
	state  byte
	parent int
	reaped time.Duration // processor time of children that have ended
}

// clockTicks is the unit of processor times in /proc, the same on all of Linux's architectures.
const clockTicks = time.Second / 100

func readStat(pid int) (s stat, ok bool) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, false
	}
	// The name of the program is in parentheses, and may contain some.
	fields := bytes.Fields(content[bytes.LastIndexByte(content, ')')+1:])
	if len(fields) < 15 {
		return stat{}, false
	}
	s.state = fields[0][0]
	if s.parent, err = strconv.Atoi(string(fields[1])); err != nil {
		return stat{}, false
	}
	for _, field := range fields[13:15] { // cutime, cstime
		ticks, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return stat{}, false
		}
		s.reaped += time.Duration(ticks) * clockTicks
	}
	return s, true
}
