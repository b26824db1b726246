//go:build failpoints

package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

// armed is read once: the environment of a process does not change.
var armed, wanted = parse(os.Getenv(Env))

var hits atomic.Int64

// Hit ends the process as kill -9 would, if name is the armed point and this
// is the hit that was asked for.
func Hit(name string) {
	if name != armed || hits.Add(1) != wanted {
		return
	}
	fmt.Fprintln(os.Stderr, "failpoint", name)
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		panic(fmt.Sprintf("end the process at fail point %q: %v", name, err))
	}
	select {} // the signal is on its way
}

// parse reads NAME or NAME:N.
func parse(value string) (name string, hit int64) {
	name, count, found := strings.Cut(value, ":")
	if !found {
		return name, 1
	}
	hit, err := strconv.ParseInt(count, 10, 64)
	if err != nil || hit < 1 {
		panic(fmt.Sprintf("%s=%q: want NAME or NAME:N with N from 1", Env, value))
	}
	return name, hit
}
