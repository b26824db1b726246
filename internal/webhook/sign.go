package webhook

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The headers of Standard Webhooks 1.0, and the prefixes of its keys.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"

	prefixSymmetric = "whsec_" // shared by sender and receiver
	prefixPrivate   = "whsk_"  // ed25519, the sender's
	prefixPublic    = "whpk_"  // ed25519, the receiver's
)

// Bounds of a symmetric key in bytes, by Standard Webhooks.
const (
	minKeyBytes = 24
	maxKeyBytes = 64
)

// Tolerance is how far a webhook-timestamp may lie from the receiver's clock, either
// way, for Verify to accept it.
const Tolerance = 5 * time.Minute

var errPublicKey = errors.New("a whpk_ key is public and checks signatures; signing needs the whsk_ key it belongs to")

// NewSecret makes a new symmetric signing secret: whsec_ and 32 random bytes as base64.
func NewSecret() string {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails: crypto/rand ends the program instead
	return prefixSymmetric + base64.StdEncoding.EncodeToString(key[:])
}

// NewKeyPair makes a new ed25519 pair: whsk_ signs and stays with the sender, whpk_
// verifies and goes to the receiver.
func NewKeyPair() (private, public string) {
	pub, priv, _ := ed25519.GenerateKey(nil) // never fails with crypto/rand
	return prefixPrivate + base64.StdEncoding.EncodeToString(priv.Seed()), prefixPublic + base64.StdEncoding.EncodeToString(pub)
}

// Sign returns one signature of a message for the webhook-signature header: "v1,…" for
// a whsec_ secret, "v1a,…" for a whsk_ one. It fails when the secret is malformed.
func Sign(secret, id string, at time.Time, body []byte) (string, error) {
	k, err := parseKey(secret)
	if err != nil {
		return "", err
	}
	if !k.canSign() {
		return "", errPublicKey
	}
	return string(k.appendSignature(nil, signedPrefix(id, at), body)), nil
}

// Verify checks a received message: the three webhook-* headers against the body, the
// secret (whsec_, or whpk_ and whsk_ for ed25519) and the clock. Its error says which
// check failed.
func Verify(secret string, h http.Header, body []byte, now time.Time) error {
	k, err := parseKey(secret)
	if err != nil {
		return err
	}
	id, stamp, signatures := h.Get(HeaderID), h.Get(HeaderTimestamp), h.Get(HeaderSignature)
	for _, name := range []string{HeaderID, HeaderTimestamp, HeaderSignature} {
		if h.Get(name) == "" {
			return fmt.Errorf("the header %s is missing", name)
		}
	}
	sec, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return fmt.Errorf("%s is seconds since 1970, not %q", HeaderTimestamp, clip(stamp))
	}
	if clock, far := now.Unix(), int64(Tolerance/time.Second); sec < clock-far || sec > clock+far {
		return fmt.Errorf("%s is %d and this machine's clock %d, more than the %s allowed apart", HeaderTimestamp, sec, clock, Tolerance)
	}
	for signature := range strings.FieldsSeq(signatures) {
		if k.verifies(signature, signedPrefix(id, time.Unix(sec, 0)), body) {
			return nil
		}
	}
	return fmt.Errorf("no signature in %s is of this body with this secret", HeaderSignature)
}

// signedPrefix is what is signed before the body: id.timestamp. with both dots.
func signedPrefix(id string, at time.Time) []byte {
	b := make([]byte, 0, len(id)+22)
	b = append(append(b, id...), '.')
	return append(strconv.AppendInt(b, at.Unix(), 10), '.')
}

// key signs with one secret. It is safe for concurrent use.
type key struct {
	macs    *sync.Pool         // of hash.Hash; set on a symmetric key
	private ed25519.PrivateKey // set on a whsk_ key
	public  ed25519.PublicKey  // set on a whsk_ and a whpk_ key
}

func parseKey(secret string) (key, error) {
	prefix, encoded, ok := strings.Cut(secret, "_")
	prefix += "_"
	if !ok || (prefix != prefixSymmetric && prefix != prefixPrivate && prefix != prefixPublic) {
		return key{}, errors.New("a signing secret begins with whsec_, or with whsk_ for ed25519; relay secret makes one")
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return key{}, fmt.Errorf("a signing secret is base64 after %s; this one is not", prefix)
	}
	switch {
	case prefix == prefixSymmetric && len(raw) >= minKeyBytes && len(raw) <= maxKeyBytes:
		return key{macs: &sync.Pool{New: func() any { return hmac.New(sha256.New, raw) }}}, nil
	case prefix == prefixSymmetric:
		return key{}, fmt.Errorf("a signing secret has %d to %d bytes after decoding; this one has %d", minKeyBytes, maxKeyBytes, len(raw))
	case prefix == prefixPublic && len(raw) == ed25519.PublicKeySize:
		return key{public: raw}, nil
	case prefix == prefixPrivate && len(raw) == ed25519.SeedSize:
		private := ed25519.NewKeyFromSeed(raw)
		return key{private: private, public: private.Public().(ed25519.PublicKey)}, nil
	case prefix == prefixPrivate && len(raw) == ed25519.PrivateKeySize:
		// The second half is the public key. Signing with halves that do not belong
		// together gives the private one away.
		private := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
		if !bytes.Equal(private, raw) {
			return key{}, errors.New("the two halves of this whsk_ key do not belong together")
		}
		return key{private: private, public: private.Public().(ed25519.PublicKey)}, nil
	default:
		return key{}, fmt.Errorf("an ed25519 key has 32 bytes, or 64 with its public half; this one has %d", len(raw))
	}
}

// canSign says whether the key is more than a public one.
func (k key) canSign() bool { return k.macs != nil || k.private != nil }

// appendSignature adds "v1,…" or "v1a,…" over prefix and body to dst.
func (k key) appendSignature(dst, prefix, body []byte) []byte {
	if k.macs == nil {
		dst = append(dst, "v1a,"...)
		return base64.StdEncoding.AppendEncode(dst, ed25519.Sign(k.private, append(prefix, body...)))
	}
	dst = append(dst, "v1,"...)
	return base64.StdEncoding.AppendEncode(dst, k.sum(prefix, body))
}

func (k key) sum(prefix, body []byte) []byte {
	mac := k.macs.Get().(hash.Hash)
	mac.Reset()
	mac.Write(prefix)
	mac.Write(body)
	sum := mac.Sum(make([]byte, 0, sha256.Size))
	k.macs.Put(mac)
	return sum
}

// verifies says whether one "version,base64" of a webhook-signature header fits.
func (k key) verifies(signature string, prefix, body []byte) bool {
	version, encoded, _ := strings.Cut(signature, ",")
	raw, err := base64.StdEncoding.DecodeString(encoded)
	switch {
	case err != nil:
		return false
	case version == "v1" && k.macs != nil:
		return hmac.Equal(raw, k.sum(prefix, body))
	case version == "v1a" && k.public != nil:
		return ed25519.Verify(k.public, append(prefix, body...), raw)
	default:
		return false
	}
}

// clip shortens foreign text for an error.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
