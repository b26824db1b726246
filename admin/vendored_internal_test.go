package admin

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

// TestVendored holds the scripts of others to what was looked at: htmx.org 4.0.1 as
// the npm registry has it.
func TestVendored(t *testing.T) {
	for name, want := range map[string]string{
		"htmx.min.js":   "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130",
		"hx-sse.min.js": "18ef2761356ec1fe0bb6d92612315b37517a7c1e9856b661c5ae81fef239d103",
	} {
		data, err := files.ReadFile("static/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s is not the file it was: %x", name, sum)
		}
	}
}
