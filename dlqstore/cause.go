package dlqstore

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
)

// cause is what killed a delivery, in a form that is the same for every delivery that
// died of it.
type cause struct {
	class       string // of the error, in one word
	text        string // the error without what differs from case to case
	fingerprint string // of class and text
}

// idLength is from what length a word with digits in it is taken for an id.
const idLength = 16

var (
	errorClass = regexp.MustCompile(`^([a-z][a-z_]{0,29}): `)
	// A quoted string or a word; an apostrophe within a word quotes nothing.
	causeToken = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\B'[^']*'\B|` + "`[^`]*`" + `|[0-9A-Za-z_-]+`)
	digits     = regexp.MustCompile(`[0-9]+`)
)

// causeOf takes ids, numbers, hex and quoted strings out of the error. The class is
// that of the status (5xx) where there was an answer, else the word that the error
// begins with, else "other". The status itself stays in the text.
func causeOf(d DeadLetter) cause {
	c := cause{class: "other"}
	if d.Status > 0 {
		c.class = strconv.Itoa(d.Status/100) + "xx"
	} else if m := errorClass.FindStringSubmatch(d.Error); m != nil {
		c.class = m[1]
	}
	text := shortText(cleanText(d.Error))
	status := strconv.Itoa(d.Status)
	c.text = causeToken.ReplaceAllStringFunc(text, func(token string) string {
		switch {
		case d.Status > 0 && token == status:
			return token
		case strings.ContainsAny(token[:1], "\"'`"):
			return `"…"`
		case isID(token):
			return "<id>"
		default:
			return digits.ReplaceAllLiteralString(token, "N")
		}
	})
	sum := sha256.Sum256([]byte(c.class + "\x00" + status + "\x00" + c.text))
	c.fingerprint = hex.EncodeToString(sum[:8])
	return c
}

// isID says whether a word stands for one thing rather than for a kind of thing: a
// UUID, a hash, a number of hex digits, or another long word with digits.
func isID(word string) bool {
	if !strings.ContainsAny(word, "0123456789") {
		return len(word) >= idLength && isHex(word)
	}
	return len(word) >= idLength || len(word) >= 8 && isHex(word) && strings.Trim(word, "0123456789") != ""
}

func isHex(word string) bool { return strings.Trim(word, "0123456789abcdefABCDEF-") == "" }
