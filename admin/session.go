package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// Bounds of sessions. They live in this process: a restart ends them.
const (
	sessionLife = 12 * time.Hour
	maxSessions = 1000
)

// session is a browser in which somebody has logged in.
type session struct {
	user
	formToken string // stands in every form of its pages
	ends      time.Time
}

// sessions are kept by the hash of their secret, which the browser alone has.
type sessions struct {
	mu   sync.Mutex
	list map[[sha256.Size]byte]session
}

func newSessions() *sessions { return &sessions{list: map[[sha256.Size]byte]session{}} }

// open begins a session and returns its secret. When there are too many, the one that
// ends next makes room.
func (s *sessions) open(u user, now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.list) >= maxSessions {
		var first [sha256.Size]byte
		ends := now.Add(2 * sessionLife)
		for key, one := range s.list {
			if one.ends.Before(ends) {
				first, ends = key, one.ends
			}
		}
		delete(s.list, first)
	}
	secret := rand.Text()
	s.list[sha256.Sum256([]byte(secret))] = session{user: u, formToken: rand.Text(), ends: now.Add(sessionLife)}
	return secret
}

// find returns the session of a secret; its role is nobody when there is none.
func (s *sessions) find(secret string, now time.Time) session {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.list[sha256.Sum256([]byte(secret))]
	if !now.Before(one.ends) {
		return session{}
	}
	return one
}

func (s *sessions) end(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.list, sha256.Sum256([]byte(secret)))
}

// How often a source may give a wrong password: a few times at once, then slowly.
const (
	wrongAtOnce = 5
	wrongEvery  = 12 * time.Second
)

// throttle counts the wrong passwords of sources. A secret hash spreads them over
// buckets of a fixed number: memory is bounded, nobody can push another out, and the
// few that share a bucket share its bound.
type throttle struct {
	seed    maphash.Seed
	buckets [1024]bucket
}

type bucket struct {
	wrong float64 // seeps away, one in wrongEvery
	at    time.Time
}

func newThrottle() *throttle { return &throttle{seed: maphash.MakeSeed()} }

// room says whether the source may give another password.
func (t *throttle) room(source string, now time.Time) bool {
	b := t.bucket(source)
	b.wrong = max(0, b.wrong-float64(now.Sub(b.at))/float64(wrongEvery))
	b.at = now
	return b.wrong <= wrongAtOnce-1
}

// add counts a wrong password.
func (t *throttle) add(source string) { t.bucket(source).wrong++ }

// bucket of a source; in IPv6 one customer has a /64 at least.
func (t *throttle) bucket(source string) *bucket {
	if ip, err := netip.ParseAddr(source); err == nil && ip.Is6() && !ip.Is4In6() {
		if net, err := ip.WithZone("").Prefix(64); err == nil {
			source = net.String()
		}
	}
	return &t.buckets[maphash.String(t.seed, source)%uint64(len(t.buckets))]
}
