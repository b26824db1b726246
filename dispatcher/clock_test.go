package dispatcher

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestServerClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c serverClock
		c.set(time.Time{})
		if got := c.now(); !got.Equal(time.Now()) {
			t.Errorf("without an answer: %s, want this machine's %s", got, time.Now())
		}
		ahead := time.Now().Add(26 * time.Hour)
		c.set(ahead)
		<-time.After(3 * time.Second)
		if got, want := c.now(), ahead.Add(3*time.Second); !got.Equal(want) {
			t.Errorf("three seconds after an answer: %s, want %s", got, want)
		}
		c.set(time.Time{})
		if got, want := c.now(), ahead.Add(3*time.Second); !got.Equal(want) {
			t.Errorf("an answer without a time: %s, want %s", got, want)
		}
	})
}
