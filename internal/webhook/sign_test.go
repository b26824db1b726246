package webhook_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"relay/internal/webhook"
)

func signed(id string, at time.Time, signature string) http.Header {
	h := http.Header{}
	h.Set(webhook.HeaderID, id)
	h.Set(webhook.HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
	h.Set(webhook.HeaderSignature, signature)
	return h
}

// The vector of the Standard Webhooks libraries.
func TestSignVector(t *testing.T) {
	got, err := webhook.Sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek",
		time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want || err != nil {
		t.Fatalf("Sign = %q, %v; want %q", got, err, want)
	}
}

// randomDelivery is anything that relay may send: any bytes, keys of every size.
func randomDelivery(rnd *rand.Rand) (secret, id string, body []byte) {
	key := make([]byte, 24+rnd.IntN(41))
	body = make([]byte, rnd.IntN(3000))
	for _, b := range [][]byte{key, body} {
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
	}
	return "whsec_" + base64.StdEncoding.EncodeToString(key), fmt.Sprintf("msg_%x", rnd.Uint64()), body
}

func TestSignAgreesWithTheOfficialLibrary(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	now := time.Now()
	for range 1000 {
		secret, id, body := randomDelivery(rnd)
		theirs, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := webhook.Sign(secret, id, now, body)
		if err != nil {
			t.Fatal(err)
		}
		if err := theirs.Verify(body, signed(id, now, ours)); err != nil {
			t.Fatalf("they refuse our signature: %v", err)
		}
		signature, _ := theirs.Sign(id, now, body)
		if err := webhook.Verify(secret, signed(id, now, "v1,AAAA "+signature), body, now); err != nil {
			t.Fatalf("we refuse their signature: %v", err)
		}
	}
}

func TestSignEd25519(t *testing.T) {
	public, private, _ := ed25519.GenerateKey(nil)
	encode := base64.StdEncoding.EncodeToString
	now, body := time.Now(), []byte("body")
	for name, secret := range map[string]string{"seed": "whsk_" + encode(private.Seed()), "pair": "whsk_" + encode(private)} {
		signature, err := webhook.Sign(secret, "msg_1", now, body)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(signature, "v1a,"))
		if err != nil || !ed25519.Verify(public, fmt.Appendf(nil, "msg_1.%d.body", now.Unix()), raw) {
			t.Errorf("%s: signature %q does not verify (%v)", name, signature, err)
		}
		for _, checker := range []string{secret, "whpk_" + encode(public)} {
			if err := webhook.Verify(checker, signed("msg_1", now, signature), body, now); err != nil {
				t.Errorf("%s: verify: %v", name, err)
			}
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	now := time.Now()
	body := []byte("body")
	good, _ := webhook.Sign(testSecret, "msg_1", now, body)
	without := func(name string) http.Header {
		h := signed("msg_1", now, good)
		h.Del(name)
		return h
	}
	stamp := func(v string) http.Header {
		h := signed("msg_1", now, good)
		h.Set(webhook.HeaderTimestamp, v)
		return h
	}
	tests := []struct {
		name   string
		secret string
		header http.Header
		body   string
		want   string // part of the error; empty: none
	}{
		{"good", testSecret, signed("msg_1", now, good), "body", ""},
		{"good among others", testSecret, signed("msg_1", now, "v2,x v1a,AAAA v1,!! "+good), "body", ""},
		{"other body", testSecret, signed("msg_1", now, good), "b0dy", "no signature"},
		{"other id", testSecret, signed("msg_2", now, good), "body", "no signature"},
		{"other secret", webhook.NewSecret(), signed("msg_1", now, good), "body", "no signature"},
		{"no id", testSecret, without(webhook.HeaderID), "body", "webhook-id is missing"},
		{"no timestamp", testSecret, without(webhook.HeaderTimestamp), "body", "webhook-timestamp is missing"},
		{"no signature", testSecret, without(webhook.HeaderSignature), "body", "webhook-signature is missing"},
		{"timestamp is no number", testSecret, stamp("soon"), "body", "seconds since 1970"},
		{"old", testSecret, stamp(strconv.FormatInt(now.Unix()-301, 10)), "body", "allowed apart"},
		{"new", testSecret, stamp(strconv.FormatInt(now.Unix()+301, 10)), "body", "allowed apart"},
		{"smallest number", testSecret, stamp("-9223372036854775808"), "body", "allowed apart"},
		{"number that overflows a difference", testSecret, stamp(strconv.FormatInt(math.MinInt64+now.Unix(), 10)), "body", "allowed apart"},
		{"largest number", testSecret, stamp("9223372036854775807"), "body", "allowed apart"},
		{"malformed secret", "secret", signed("msg_1", now, good), "body", "begins with whsec_"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := webhook.Verify(tt.secret, tt.header, []byte(tt.body), now)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("err = %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("err = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestSecrets(t *testing.T) {
	of := func(prefix string, n int) string {
		return prefix + base64.StdEncoding.EncodeToString(make([]byte, n))
	}
	tests := map[string]string{ // secret → part of the error
		of("whsec_", 24):       "",
		of("whsec_", 64):       "",
		webhook.NewSecret():    "",
		of("whsec_", 23):       "this one has 23",
		of("whsec_", 65):       "this one has 65",
		"whsec_not base64":     "is not",
		"whsec_":               "this one has 0",
		"plain":                "begins with whsec_",
		of("whsk_", 33):        "this one has 33",
		of("whsk_", 64):        "do not belong together",
		of("whpk_", 32):        "is public",
		of("WHSEC_", 32):       "begins with whsec_",
		" " + of("whsec_", 32): "begins with whsec_",
	}
	for secret, want := range tests {
		_, err := webhook.Sign(secret, "msg_1", time.Now(), nil)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", secret, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: err = %v, want %q", secret, err, want)
		case err != nil && len(secret) > 10 && strings.Contains(err.Error(), secret[6:]):
			t.Errorf("%s: the error tells it: %v", secret, err)
		}
	}
}
