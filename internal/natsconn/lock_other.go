//go:build !unix

package natsconn

import (
	"fmt"
	"os"
	"path/filepath"
)

// lockDir only makes the lock file: where there is no flock, the operator sees to it
// that one relay uses the folder.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "relay.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	return f, nil
}
