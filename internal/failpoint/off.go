//go:build !failpoints

package failpoint

// Hit does nothing: this program was built without the tag failpoints.
func Hit(string) {}
