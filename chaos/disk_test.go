package chaos_test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk is the folder of a tmpfs of that size, such as 16m, which every user may
// write to. It goes with the test.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "relay-disk-") //nolint:usetesting // Postgres runs as another user, whom t.TempDir keeps out
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=1777,size="+size); err != nil {
		t.Fatalf("mount a disk of %s, for which the test has to run as root (or choose other scenarios with CHAOS_RUN): %v", size, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
