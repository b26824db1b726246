package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"relay/internal/webhook"
)

func verifyCommand() *cobra.Command {
	var secret string
	var headers []string
	cmd := &cobra.Command{
		Use:   "verify [FILE|-]",
		Short: "Say whether a webhook's signature holds and, if not, why",
		Long: "Check the bytes of FILE, or of standard input, against the webhook-* headers and the secret. When the signature does\n" +
			"not hold, the usual mistakes are tried one by one, and the one that explains it is named.\n" +
			"Exit code: 0 it holds, 1 it does not.",
		Example: "  relay verify body.json --secret whsec_… -H 'webhook-id: msg_…' -H 'webhook-timestamp: 1795443288' \\\n" +
			"    -H 'webhook-signature: v1,…'",
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().StringVar(&secret, "secret", "", "whsec_ secret, or whpk_ key [RELAY_SECRET]")
	cmd.Flags().StringArrayVarP(&headers, "header", "H", nil, "a header that came with the body, as 'Name: value'; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if secret == "" {
			return unusable(errors.New("which secret? Give --secret, or set RELAY_SECRET"))
		}
		got, err := evidenceOf(secret, headers, args, input(cmd))
		if err != nil {
			return unusable(err)
		}
		return got.report(cmd.OutOrStdout(), time.Now())
	}
	return cmd
}

// evidence is a webhook as it came, and the secret it is to be checked with.
type evidence struct {
	secret string
	header http.Header
	body   []byte
}

func evidenceOf(secret string, headers, args []string, stdin io.Reader) (evidence, error) {
	e := evidence{secret: secret, header: http.Header{}}
	err := eachHeader(headers, e.header.Add)
	if err != nil {
		return e, err
	}
	if e.body, err = readInput(append(args, "-")[0], stdin); err != nil {
		return e, fmt.Errorf("read the body: %w", err)
	}
	return e, nil
}

// report says whether the signature holds; if not, it names what would make it hold.
func (e evidence) report(w io.Writer, now time.Time) error {
	err := webhook.Verify(e.secret, e.header, e.body, now)
	if err == nil {
		fmt.Fprintf(w, "the signature holds: %s, made %s\n", e.header.Get(webhook.HeaderID), age(e.made(), now))
		return nil
	}
	fmt.Fprintf(w, "the signature does not hold: %s\n", err)
	if e.signed() {
		fmt.Fprintf(w, "only the clock is wrong: secret and body fit, and the request was made %s; set the clock, or refuse it as old\n", age(e.made(), now))
		return wrong(nil)
	}
	for _, s := range suspicions(e) {
		if s.then.signed() {
			fmt.Fprintf(w, "it would hold otherwise: %s\n", s.fault)
			return wrong(nil)
		}
	}
	fmt.Fprintln(w, e.remains())
	return wrong(nil)
}

// made is the time that webhook-timestamp names.
func (e evidence) made() time.Time {
	sec, _ := strconv.ParseInt(e.header.Get(webhook.HeaderTimestamp), 10, 64) // Verify tells of one that is no number
	return time.Unix(sec, 0)
}

// signed says whether a signature fits, whatever the clock.
func (e evidence) signed() bool {
	return webhook.Verify(e.secret, e.header, e.body, e.made()) == nil
}

// suspicion is a mistake, and the evidence as it would be without it.
type suspicion struct {
	fault string
	then  evidence
}

// suspicions are the usual mistakes, each to be tried alone, the simplest
// first.
func suspicions(e evidence) []suspicion {
	var all []suspicion
	secret := func(fault, s string) {
		if s != e.secret {
			all = append(all, suspicion{fault, evidence{s, e.header, e.body}})
		}
	}
	body := func(fault string, b []byte) {
		if !bytes.Equal(b, e.body) {
			all = append(all, suspicion{fault, evidence{e.secret, e.header, b}})
		}
	}
	secret("the secret has white space around it", strings.TrimSpace(e.secret))
	secret("the secret lacks its prefix whsec_", "whsec_"+strings.TrimSpace(e.secret))
	if h, fault := renamed(e.header); fault != "" {
		all = append(all, suspicion{fault, evidence{e.secret, h, e.body}})
	}
	if s := e.header.Get(webhook.HeaderSignature); s != "" && !strings.Contains(s, ",") {
		h := e.header.Clone()
		h.Set(webhook.HeaderSignature, "v1,"+s)
		all = append(all, suspicion{"webhook-signature lacks its prefix v1, before the base64", evidence{e.secret, h, e.body}})
	}
	text := bytes.TrimSpace(e.body)
	body("white space around the body was added on the way", text)
	body("the body had a newline at its end that got lost", append(bytes.Clone(text), '\n'))
	body("the line ends of the body were changed, from LF to CRLF", bytes.ReplaceAll(e.body, []byte("\r\n"), []byte("\n")))
	for _, v := range jsonForms(text) {
		const fault = "the body was parsed and written again; what was signed is its %s. Verify the bytes that came, before anything parses them"
		body(fmt.Sprintf(fault, v.name), v.body)
		body(fmt.Sprintf(fault, v.name+" with a newline at its end"), append(bytes.Clone(v.body), '\n'))
	}
	return all
}

// renamed finds the three headers under names that are near to theirs: with another
// prefix, or with underscores.
func renamed(h http.Header) (found http.Header, fault string) {
	found = h.Clone()
	var names []string
	for _, want := range []string{webhook.HeaderID, webhook.HeaderTimestamp, webhook.HeaderSignature} {
		if h.Get(want) != "" {
			continue
		}
		last := strings.TrimPrefix(want, "webhook")
		for _, name := range slices.Sorted(maps.Keys(h)) {
			if strings.HasSuffix(strings.ReplaceAll(strings.ToLower(name), "_", "-"), last) {
				found.Set(want, h.Get(name))
				names = append(names, fmt.Sprintf("%s came as %s", want, name))
				break
			}
		}
	}
	if names == nil {
		return nil, ""
	}
	return found, "the headers have other names: " + strings.Join(names, ", ")
}

type jsonForm struct {
	name string
	body []byte
}

// jsonForms writes a JSON body in the ways of the usual libraries, with its keys in
// their order and sorted; nothing for what is no JSON.
func jsonForms(body []byte) []jsonForm {
	var compact bytes.Buffer
	if json.Compact(&compact, body) != nil {
		return nil
	}
	forms := writings("", compact.Bytes())
	var value any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber() // else 129.50 becomes 129.5
	var sorted bytes.Buffer
	enc := json.NewEncoder(&sorted)
	enc.SetEscapeHTML(false)
	if d.Decode(&value) != nil {
		return forms
	}
	if err := enc.Encode(value); err == nil {
		forms = append(forms, writings("key-sorted ", bytes.TrimSpace(sorted.Bytes()))...)
	}
	return forms
}

func writings(keys string, compact []byte) []jsonForm {
	forms := []jsonForm{{keys + "compact form", compact}, {keys + "form with a space after , and :", spaced(compact)}}
	for _, indent := range []string{"  ", "    ", "\t"} {
		var b bytes.Buffer
		if json.Indent(&b, compact, "", indent) == nil {
			forms = append(forms, jsonForm{fmt.Sprintf("%sform indented by %q", keys, indent), b.Bytes()})
		}
	}
	return forms
}

// spaced writes compact JSON as Python's json.dumps does.
func spaced(compact []byte) []byte {
	out := make([]byte, 0, len(compact)+len(compact)/8)
	inString, escaped := false, false
	for _, c := range compact {
		out = append(out, c)
		switch {
		case escaped:
			escaped = false
		case inString && c == '\\':
			escaped = true
		case c == '"':
			inString = !inString
		case !inString && (c == ',' || c == ':'):
			out = append(out, ' ')
		}
	}
	return out
}

// remains says what is left when no usual mistake explains it.
func (e evidence) remains() string {
	signatures := e.header.Get(webhook.HeaderSignature)
	symmetric := strings.HasPrefix(e.secret, "whsec_")
	switch {
	case signatures == "":
		return "without webhook-signature there is nothing to check: the route has no signing.secrets, or a proxy dropped the header"
	case symmetric && !strings.Contains(signatures, "v1,"):
		return "the signatures are of ed25519 (v1a) and the secret is a whsec_: verify with the whpk_ key of the pair"
	case !symmetric && !strings.HasPrefix(e.secret, "whpk_"):
		return "a secret begins with whsec_, a public key with whpk_; the route's signing.secrets has the one that is shared with you"
	case !symmetric && !strings.Contains(signatures, "v1a,"):
		return "the signatures are HMAC (v1) and the key is of ed25519: verify with the whsec_ secret"
	case json.Valid(e.body):
		return "no usual mistake that can be undone explains it: the secret is another one than the route's; or the body was parsed and written again,\n" +
			"which changes numbers such as 129.50 for good (verify the bytes that came); or webhook-id or webhook-timestamp is not as it was sent"
	default:
		return "no usual mistake explains it: the secret is another one than the route's, or the body, webhook-id or webhook-timestamp is not as it was sent"
	}
}

// age says how long before, or after, now a time was.
func age(t, now time.Time) string {
	d := now.Sub(t).Round(time.Second)
	if d < 0 {
		return (-d).String() + " in the future"
	}
	return d.String() + " ago"
}
