package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// visible makes foreign text fit to be looked at: characters that show nothing, or
// that turn the text around them (controls, bidirectional marks, odd spaces, bytes
// that are no UTF-8), stand as their name.
func visible(s string) string { return reveal(s, "") }

// visibleText is visible for text of several lines: tabs and line ends stay.
func visibleText(s string) string { return reveal(strings.ReplaceAll(s, "\r\n", "\n"), "\n\t") }

func reveal(s, keep string) string {
	if plain(s, keep) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\ufffd"):
			fmt.Fprintf(&b, "⟨%02X⟩", s[i])
		case unicode.IsPrint(r) || strings.ContainsRune(keep, r):
			b.WriteRune(r)
		case r < ' ':
			b.WriteRune('␀' + r)
		case r == 0x7f:
			b.WriteRune('␡')
		default:
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		}
	}
	return b.String()
}

func plain(s, keep string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) && !strings.ContainsRune(keep, r) }) < 0
}

// cut shortens text to n characters.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// isJSON says whether data is one JSON value that can stand in a JSON document.
func isJSON(data []byte) bool { return utf8.Valid(data) && json.Valid(data) }

// maxPrettyDepth bounds the nesting that is indented: the size of the result grows
// with the square of it.
const maxPrettyDepth = 100

// prettyJSON indents JSON and changes nothing else: numbers keep their digits. It
// returns false for what is no JSON, or nested too deeply.
func prettyJSON(data []byte) (string, bool) {
	if !isJSON(data) || depth(data) > maxPrettyDepth {
		return "", false
	}
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(data), "", "  "); err != nil {
		return "", false
	}
	return b.String(), true
}

// depth is how deeply valid JSON is nested.
func depth(data []byte) int {
	deepest, level, inString := 0, 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '[' || c == '{':
			level++
			deepest = max(deepest, level)
		case c == ']' || c == '}':
			level--
		}
	}
	return deepest
}

// ago says how long past something is, in one unit. Clocks of two machines differ a little.
func ago(d time.Duration) string {
	switch {
	case d <= -10*time.Second:
		return "in the future"
	case d < 10*time.Second:
		return "just now"
	case d < 2*time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s ago"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min ago"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h ago"
	default:
		return strconv.Itoa(int(d.Hours()/24)) + " days ago"
	}
}

// duration writes a setting as the routes file would: 90s, 24h, 7d.
func duration(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 2*day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// took writes how long an attempt lasted.
func took(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return strconv.FormatInt(d.Microseconds(), 10) + " µs"
	case d < 10*time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	default:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	}
}

// size writes a number of bytes.
func size(n int) string {
	switch {
	case n == 1:
		return "1 byte"
	case n < 1<<10:
		return strconv.Itoa(n) + " bytes"
	case n < 1<<20:
		return strconv.FormatFloat(float64(n)/(1<<10), 'f', 1, 64) + " KiB"
	default:
		return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MiB"
	}
}

func count(n int, thing string) string {
	switch {
	case n == 1:
		return "1 " + thing
	case strings.HasSuffix(thing, "s"):
		return digits(n) + " " + thing + "es"
	default:
		return digits(n) + " " + thing + "s"
	}
}

// rate writes how many a second there are.
func rate(perSecond float64) string {
	switch {
	case perSecond >= 10:
		return digits(int(math.Round(perSecond))) + "/s"
	case perSecond >= 0.1:
		return strconv.FormatFloat(perSecond, 'f', 1, 64) + "/s"
	default:
		return strconv.FormatFloat(perSecond*60, 'f', 1, 64) + "/min"
	}
}

// share writes a share as a percentage that says 100 only when it is all of them.
func share(f float64) string {
	percent := math.Floor(f*1000) / 10
	return strconv.FormatFloat(percent, 'f', -1, 64) + " %"
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// digits groups the digits of a number: 12,438.
func digits[T int | uint64](n T) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
