package natsconn

import "testing"

// The setting is not to be seen from outside, and what it guards against is a crash of
// the machine.
func TestEmbeddedSyncAlways(t *testing.T) {
	for _, always := range []bool{true, false} {
		e, err := StartEmbedded(EmbeddedOptions{Dir: t.TempDir(), Port: -1, SyncAlways: always})
		if err != nil {
			t.Fatal(err)
		}
		if got := e.srv.JetStreamConfig().SyncAlways; got != always {
			t.Errorf("SyncAlways of the server = %t, want %t", got, always)
		}
		e.Shutdown()
	}
}
