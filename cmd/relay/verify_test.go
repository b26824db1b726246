package main

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"relay/internal/webhook"
)

// Each of the usual mistakes is named, and a signature that holds is not doubted.
func TestVerify(t *testing.T) {
	const body = "{\"total\":129.50,\"note\":\"a, b: \\\"c\\\"\",\"big\":9007199254740993}"
	const sorted = "{\"big\":9007199254740993,\"note\":\"a, b: \\\"c\\\"\",\"total\":129.50}"
	const indented = "{\n  \"total\": 129.50,\n  \"note\": \"a, b: \\\"c\\\"\",\n  \"big\": 9007199254740993\n}"
	const spaced = "{\"total\": 129.50, \"note\": \"a, b: \\\"c\\\"\", \"big\": 9007199254740993}"
	secret := webhook.NewSecret()
	private, public := webhook.NewKeyPair()
	now := time.Now()
	for name, tt := range map[string]struct {
		sent, got string // bodies; empty: body
		by, with  string // secrets: that signed, that verifies; empty: secret
		at        time.Time
		change    func(h http.Header)
		code      int
		want      string
	}{
		"it holds":                {want: "the signature holds: msg_1, made "},
		"ed25519":                 {by: private, with: public, want: "the signature holds"},
		"old":                     {at: now.Add(-3 * time.Hour), code: 1, want: "only the clock is wrong: secret and body fit, and the request was made 3h0m"},
		"from the future":         {at: now.Add(time.Hour), code: 1, want: "in the future"},
		"wrong secret":            {with: webhook.NewSecret(), code: 1, want: "the secret is another one"},
		"tampered":                {got: strings.Replace(body, "129", "130", 1), code: 1, want: "no usual mistake that can be undone explains it"},
		"parsed for good":         {got: strings.Replace(body, "129.50", "129.5", 1), code: 1, want: "which changes numbers such as 129.50 for good"},
		"no JSON":                 {sent: "a", got: "b", code: 1, want: "no usual mistake explains it"},
		"no secret at all":        {with: "abc", code: 1, want: "a secret begins with whsec_"},
		"prefix of the secret":    {with: strings.TrimPrefix(secret, "whsec_"), code: 1, want: "the secret lacks its prefix whsec_"},
		"secret with a space":     {with: secret + " ", code: 1, want: "the secret has white space around it"},
		"indented on the way":     {got: indented, code: 1, want: "what was signed is its compact form. Verify the bytes"},
		"compacted on the way":    {sent: indented, code: 1, want: "what was signed is its form indented by \"  \""},
		"sorted by the sender":    {sent: sorted, code: 1, want: "what was signed is its key-sorted compact form"},
		"spaced by the sender":    {sent: spaced, code: 1, want: "what was signed is its form with a space after , and :"},
		"indented, newline lost":  {sent: indented + "\n", code: 1, want: "indented by \"  \" with a newline at its end"},
		"newline added":           {got: body + "\n", code: 1, want: "white space around the body was added"},
		"newline lost":            {sent: body + "\n", code: 1, want: "a newline at its end that got lost"},
		"CRLF":                    {sent: "a\nb", got: "a\r\nb", code: 1, want: "from LF to CRLF"},
		"no version":              {change: func(h http.Header) { h.Set("webhook-signature", h.Get("webhook-signature")[3:]) }, code: 1, want: "lacks its prefix v1,"},
		"headers of another name": {change: func(h http.Header) { move(h, "svix-id", "webhook-id") }, code: 1, want: "webhook-id came as Svix-Id"},
		"underscores":             {change: func(h http.Header) { move(h, "webhook_signature", "webhook-signature") }, code: 1, want: "webhook-signature came as Webhook_signature"},
		"not signed":              {change: func(h http.Header) { h.Del("webhook-signature") }, code: 1, want: "no signing.secrets"},
		"timestamp is no number":  {change: func(h http.Header) { h.Set("webhook-timestamp", "today") }, code: 1, want: "seconds since 1970"},
		"public key for a secret": {with: public, code: 1, want: "verify with the whsec_ secret"},
		"secret for a public key": {by: private, code: 1, want: "verify with the whpk_ key"},
	} {
		t.Run(name, func(t *testing.T) {
			at := tt.at
			if at.IsZero() {
				at = now
			}
			signature, err := webhook.Sign(cmp.Or(tt.by, secret), "msg_1", at, []byte(cmp.Or(tt.sent, body)))
			if err != nil {
				t.Fatal(err)
			}
			h := http.Header{}
			h.Set("webhook-id", "msg_1")
			h.Set("webhook-timestamp", fmt.Sprint(at.Unix()))
			h.Set("webhook-signature", signature)
			if tt.change != nil {
				tt.change(h)
			}
			args := []string{"verify", "--secret", cmp.Or(tt.with, secret)}
			for name := range h {
				args = append(args, "-H", name+": "+h.Get(name))
			}
			code, stdout, stderr := command(t, cmp.Or(tt.got, body), args...)
			if code != tt.code || !strings.Contains(stdout, tt.want) || stderr != "" {
				t.Errorf("exit %d, want %d and %q:\n%s%s", code, tt.code, tt.want, stdout, stderr)
			}
			if strings.Contains(stdout, strings.TrimSpace(cmp.Or(tt.with, secret))) {
				t.Errorf("the secret is shown:\n%s", stdout)
			}
		})
	}
}

func move(h http.Header, to, from string) {
	h.Set(to, h.Get(from))
	h.Del(from)
}

// A new secret signs, and verifies what it signed; so does a new pair.
func TestSecret(t *testing.T) {
	for name, args := range map[string][]string{"symmetric": {"secret"}, "ed25519": {"secret", "--ed25519"}} {
		t.Run(name, func(t *testing.T) {
			_, first, _ := command(t, "", args...)
			code, stdout, stderr := command(t, "", args...)
			keys := strings.Fields(stdout)
			if code != 0 || stderr != "" || len(keys) != len(args) || first == stdout {
				t.Fatalf("exit %d, %q", code, stderr)
			}
			at, body := time.Now(), bytes.Repeat([]byte("x"), 100)
			signature, err := webhook.Sign(keys[0], "msg_1", at, body)
			if err != nil {
				t.Fatal(err)
			}
			h := http.Header{"Webhook-Id": {"msg_1"}, "Webhook-Timestamp": {fmt.Sprint(at.Unix())}, "Webhook-Signature": {signature}}
			if err := webhook.Verify(keys[len(keys)-1], h, body, at); err != nil {
				t.Error(err)
			}
		})
	}
}
