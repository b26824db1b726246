package dispatcher

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestPace(t *testing.T) {
	const failures, perSecond = 100, 2000
	const interval = time.Second / perSecond
	for name, tt := range map[string]struct {
		before func(failing, other *pace)
		want   time.Duration
	}{
		"alone": {func(failing, _ *pace) { failing.attempted(time.Now()) }, 0},
		"beside another route": {func(failing, other *pace) {
			failing.attempted(time.Now())
			other.attempted(time.Now())
		}, (failures - 1) * interval},
		"after another route": {func(failing, other *pace) {
			other.attempted(time.Now())
			failing.attempted(time.Now())
		}, (failures - 1) * interval},
		"long after another route": {func(failing, other *pace) {
			other.attempted(time.Now())
			failing.attempted(time.Now())
			<-time.After(companyLasts)
			failing.attempted(time.Now())
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := company{born: time.Now()}
				<-time.After(time.Millisecond)
				failing, other := newPace(&c, perSecond), newPace(&c, perSecond)
				tt.before(failing, other)
				began := time.Now()
				for range failures {
					failing.failed(t.Context())
				}
				if got := time.Since(began).Round(interval); got != tt.want {
					t.Errorf("%d failures took %s, want %s", failures, got, tt.want)
				}
				ended, cancel := context.WithCancel(t.Context())
				cancel()
				began = time.Now()
				for range failures {
					failing.failed(ended)
				}
				if got := time.Since(began); got != 0 {
					t.Errorf("after the end of the route %d failures took %s, want 0", failures, got)
				}
			})
		})
	}
}
