package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// moved is by how many seconds the wall clock is off: the first eight bytes of the file
// that CHAOS_CLOCK names, which others may write at any time. Go's monotonic clock, and
// so every timer, stays as it is, as when somebody sets the clock of a machine.
var moved = mapClock()

func mapClock() *int64 {
	path, found := syscall.Getenv("CHAOS_CLOCK")
	if !found {
		return new(int64)
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic("CHAOS_CLOCK: " + err.Error())
	}
	file, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("CHAOS_CLOCK: " + err.Error())
	}
	return (*int64)(unsafe.Pointer(&file[0]))
}

func movedBy() int64 { return atomic.LoadInt64(moved) }
