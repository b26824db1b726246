package admin

import (
	"bufio"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// role is what somebody may do; each may do what those before it may.
type role int

const (
	nobody   role = iota
	viewer        // see everything, payloads among it
	operator      // replay, discard, restore, pause, resume, reload
	editor        // replay with another payload or other headers, import
)

func parseRole(word string) (role, bool) {
	switch word {
	case "", "viewer":
		return viewer, true
	case "operator":
		return operator, true
	case "editor":
		return editor, true
	}
	return nobody, false
}

func (r role) String() string { return [...]string{"nobody", "viewer", "operator", "editor"}[r] }

// user is somebody who has shown who they are.
type user struct {
	name string
	role role
}

// AuthOptions say who may use the admin surface, and how they show who they are.
//
// Both files have a line NAME:HASH:ROLE each; empty lines and those that begin with #
// are left out. The role is viewer, operator or editor, and viewer when it is absent.
type AuthOptions struct {
	// UsersFile has users, whose hash is the password's in bcrypt, as htpasswd -B makes
	// it. Without a hash TrustedHeader is their only way in. Empty: no passwords.
	UsersFile string
	// TokensFile has bearer tokens, whose hash is their SHA-256 in hex. Empty: no tokens.
	TokensFile string
	// TrustedHeader is the header in which one of TrustedProxies names the user whom it
	// has authenticated. The role is that of UsersFile, else viewer. Empty: none is believed.
	TrustedHeader string
	// TrustedProxies are addresses and CIDRs whose X-Forwarded-For and
	// X-Forwarded-Proto are believed.
	TrustedProxies []string
}

// Auth knows who may use the admin surface. It is safe for concurrent use and serves
// one Server.
type Auth struct {
	users   map[string]*account
	tokens  map[[sha256.Size]byte]user
	header  string
	proxies []netip.Prefix

	key      []byte // of proofs
	decoy    []byte // a hash to compare with when there is no such user
	checking sync.Mutex
	failures *throttle // guarded by checking
	sessions *sessions
}

// account is a user of the users file.
type account struct {
	user
	hash  []byte                            // empty: no password
	proof atomic.Pointer[[sha256.Size]byte] // of the password that last matched
}

// LoadAuth reads the files. It returns nil when the options let nobody in, which
// stands for no authentication.
func LoadAuth(o AuthOptions) (*Auth, error) {
	if o.UsersFile == "" && o.TokensFile == "" && o.TrustedHeader == "" {
		return nil, nil
	}
	a := &Auth{
		users: map[string]*account{}, tokens: map[[sha256.Size]byte]user{}, header: o.TrustedHeader,
		key: []byte(rand.Text()), failures: newThrottle(), sessions: newSessions(),
	}
	for _, text := range o.TrustedProxies {
		prefix, err := netip.ParsePrefix(text)
		if addr, addrErr := netip.ParseAddr(text); addrErr == nil {
			prefix, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			return nil, fmt.Errorf("trusted proxy %q: an address or a CIDR wanted, as in 10.0.0.0/8", text)
		}
		a.proxies = append(a.proxies, prefix.Masked())
	}
	if a.header != "" && len(a.proxies) == 0 {
		return nil, fmt.Errorf("the header %s is believed only of proxies that are named: give --admin-trusted-proxies", a.header)
	}
	if err := readLines(o.UsersFile, a.addUser); err != nil {
		return nil, fmt.Errorf("read the users: %w", err)
	}
	if err := readLines(o.TokensFile, a.addToken); err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	return a, nil
}

// readLines hands over the lines of a file; no error quotes what stands in one.
func readLines(path string, add func(u user, hash string) error) error {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, _ := strings.Cut(line, ":")
		hash, word, _ := strings.Cut(rest, ":")
		r, known := parseRole(word)
		switch {
		case name == "" || len(name) > maxTextBytes || !plain(name, ""):
			err = errors.New("a line begins with a name, as in NAME:HASH:ROLE")
		case !known:
			err = errors.New("the role is viewer, operator or editor")
		default:
			err = add(user{name, r}, hash)
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
	return lines.Err()
}

// maxCost bounds the work of one password; each step doubles it, and 14 is about a second.
const maxCost = 14

func (a *Auth) addUser(u user, hash string) error {
	if a.users[u.name] != nil {
		return fmt.Errorf("user %q is there twice", u.name)
	}
	if hash != "" {
		cost, err := bcrypt.Cost([]byte(hash))
		if err != nil {
			return fmt.Errorf("the hash of %q is in bcrypt, as htpasswd -B makes it", u.name)
		}
		if cost > maxCost {
			return fmt.Errorf("the cost of %q's hash is at most %d", u.name, maxCost)
		}
		a.decoy = []byte(hash)
	}
	a.users[u.name] = &account{user: u, hash: []byte(hash)}
	return nil
}

func (a *Auth) addToken(u user, hash string) error {
	sum, err := hex.DecodeString(hash)
	if err != nil || len(sum) != sha256.Size {
		return fmt.Errorf("the hash of %q is a SHA-256 in hex, %d digits", u.name, 2*sha256.Size)
	}
	if _, twice := a.tokens[[sha256.Size]byte(sum)]; twice {
		return fmt.Errorf("the token of %q is there twice", u.name)
	}
	a.tokens[[sha256.Size]byte(sum)] = u
	return nil
}

// hasPasswords says whether anybody can log in with one.
func (a *Auth) hasPasswords() bool { return a.decoy != nil }

func wrongCredentials(what string) *problem {
	return &problem{http.StatusUnauthorized, "unauthorized", what, nil}
}

// byPassword returns the user of that name and password. One that matched before is
// known again without bcrypt, which scripts would wait for with every request.
func (a *Auth) byPassword(name, password, source string, now time.Time) (user, error) {
	known, hash := a.users[name], a.decoy
	if known == nil || len(known.hash) == 0 {
		known = nil
	} else {
		hash = known.hash
	}
	proof := a.proof(name, password)
	if known.hasShown(proof) {
		return known.user, nil
	}
	a.checking.Lock() // one at a time: a flood of them takes one processor, not all
	defer a.checking.Unlock()
	if known.hasShown(proof) { // in a request at the same time
		return known.user, nil
	}
	if !a.failures.room(source, now) {
		return user{}, &problem{http.StatusTooManyRequests, "too_many_attempts", "too many wrong passwords came from your address; wait a little", nil}
	}
	if err := bcrypt.CompareHashAndPassword(hash, []byte(password)); err != nil || known == nil {
		a.failures.add(source)
		return user{}, wrongCredentials("the name or the password is wrong")
	}
	known.proof.Store(&proof)
	return known.user, nil
}

// hasShown says whether that password has matched before.
func (a *account) hasShown(proof [sha256.Size]byte) bool {
	if a == nil {
		return false
	}
	last := a.proof.Load()
	return last != nil && hmac.Equal(last[:], proof[:])
}

func (a *Auth) proof(name, password string) [sha256.Size]byte {
	mac := hmac.New(sha256.New, a.key)
	_, _ = io.WriteString(mac, name+"\x00"+password)
	return [sha256.Size]byte(mac.Sum(nil))
}

// byToken returns the user of a bearer token. Looking up a hash tells nothing of the
// hashes that are there, however long it takes.
func (a *Auth) byToken(token string) (user, error) {
	u, ok := a.tokens[sha256.Sum256([]byte(token))]
	if !ok {
		return user{}, wrongCredentials("the token is wrong")
	}
	return u, nil
}

// byProxy returns the user whom a trusted proxy names; its role is nobody when none does.
func (a *Auth) byProxy(r *http.Request) user {
	values := r.Header.Values(a.header)
	if a.header == "" || len(values) != 1 || values[0] == "" || checkText(a.header, values[0]) != nil || !a.isProxy(peer(r)) {
		return user{}
	}
	if known := a.users[values[0]]; known != nil {
		return known.user
	}
	return user{values[0], viewer}
}

func (a *Auth) isProxy(addr string) bool {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return false
	}
	for _, p := range a.proxies {
		if p.Contains(ip.Unmap().WithZone("")) {
			return true
		}
	}
	return false
}

// source is the address that a request comes from: the last that no trusted proxy has.
func (a *Auth) source(r *http.Request) string {
	addr := peer(r)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && a.isProxy(addr); i-- {
		hop := strings.TrimSpace(hops[i])
		if _, err := netip.ParseAddr(hop); err != nil {
			break
		}
		addr = hop
	}
	return addr
}

// encrypted says whether the browser speaks TLS, with relay or with a trusted proxy.
func (a *Auth) encrypted(r *http.Request) bool {
	return r.TLS != nil || a.isProxy(peer(r)) && strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}
