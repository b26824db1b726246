package receivers_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"relay/internal/webhook"
	"relay/routes"
)

// verifyAll reads deliveries as JSON, one a line, and prints how many the npm package
// standardwebhooks accepts: with each of the route's secrets, and not with another body.
const verifyAll = `
import { createInterface } from "node:readline";
import { Webhook } from "standardwebhooks";
let accepted = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const { secrets, headers, body } = JSON.parse(line);
  const bytes = Buffer.from(body, "base64");
  for (const secret of secrets) {
    const webhook = new Webhook(secret);
    webhook.verify(bytes, headers);
    let refused = false;
    try { webhook.verify(bytes + " ", headers); } catch { refused = true; }
    if (!refused) throw new Error("accepted another body: " + line);
  }
  accepted++;
}
console.log(accepted);
`

type signedDelivery struct {
	Secrets []string          `json:"secrets"`
	Headers map[string]string `json:"headers"`
	Body    []byte            `json:"body"`
}

// checkSignatures sends a thousand messages of any text, signed with keys of any size,
// and lets the npm package verify what arrived.
func checkSignatures(t *testing.T, node string) {
	const senders, each = 50, 20
	arrived := make(chan signedDelivery, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		d := signedDelivery{Headers: map[string]string{}, Body: body}
		for _, name := range []string{webhook.HeaderID, webhook.HeaderTimestamp, webhook.HeaderSignature} {
			d.Headers[name] = r.Header.Get(name)
		}
		arrived <- d
	}))
	defer receiver.Close()
	random := rand.New(rand.NewPCG(1, 2))
	var lines bytes.Buffer
	for range senders {
		secrets := map[string]string{"NEW": randomSecret(random), "OLD": randomSecret(random)}
		s, err := webhook.New(routes.Route{Name: "random", Webhook: routes.Webhook{
			URL: receiver.URL, Timeout: time.Minute,
			Signing: routes.Signing{Secrets: []routes.Secret{{Env: "NEW"}, {Env: "OLD"}}},
		}}, webhook.Options{LookupEnv: func(name string) (string, bool) { return secrets[name], true }})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for range each {
			m := &webhook.Message{ID: "msg_" + randomText(random, 20), Body: randomJSON(random)}
			if answer := s.Send(t.Context(), m); answer.Status != http.StatusOK {
				t.Fatalf("answer = %d, %v", answer.Status, answer.Err)
			}
			d := <-arrived
			d.Secrets = []string{secrets["NEW"], secrets["OLD"]}
			if err := json.NewEncoder(&lines).Encode(d); err != nil {
				t.Fatal(err)
			}
		}
	}
	cmd := exec.CommandContext(t.Context(), "node", "--input-type=module", "--eval", verifyAll)
	cmd.Dir, cmd.Stdin = node, &lines
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "1000" {
		t.Errorf("standardwebhooks accepted %s of 1000 (%v)", out, err)
	}
}

func randomSecret(r *rand.Rand) string {
	key := make([]byte, 24+r.IntN(41)) // every size that Standard Webhooks allows
	for i := range key {
		key[i] = byte(r.Uint32())
	}
	return "whsec_" + base64.StdEncoding.EncodeToString(key)
}

// randomJSON is what the package reads: it parses what it has verified.
func randomJSON(r *rand.Rand) []byte {
	text, _ := json.Marshal(randomText(r, r.IntN(2000)))
	space := strings.Repeat(" ", r.IntN(3))
	return []byte("{" + space + `"text":` + space + string(text) + "}")
}

func randomText(r *rand.Rand, n int) string {
	alphabet := []rune("aZ09 -_.\"\\/<>&\u2028\n\tüЖ語😀")
	text := make([]rune, n)
	for i := range text {
		text[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(text)
}
