package routes

import (
	"regexp"
	"strings"
)

// Values that may be secrets although they stand where none belongs: after a key
// that sounds like one, with the prefix of a Standard Webhooks secret, or as the
// credentials of a URL. References, in braces or with a dollar, stay readable.
var (
	secretKey    = regexp.MustCompile(`(?i)((?:passw[or]*d|secrets?|bearer|token|authorization|api[-_]?key)["']?\s*:\s+)(["']?[^\s"'{\[$*&|>#].*)$`)
	secretPrefix = regexp.MustCompile(`\bwhsec_[^\s"',\]}]+`)
	secretInURL  = regexp.MustCompile(`://[^/\s"']*@`)
)

// mask replaces what may be a secret by ***.
func mask(text string) string {
	if !strings.ContainsAny(text, ":_") { // most texts hold nothing of the kind
		return text
	}
	text = secretKey.ReplaceAllString(text, "$1***")
	text = secretPrefix.ReplaceAllString(text, "whsec_***")
	return secretInURL.ReplaceAllString(text, "://***@")
}

// sourceLine is a line of the file without the secrets in it. Of a line that nobody
// reads it is empty.
func sourceLine(src *source, line int) string {
	const longestLine = 10_000
	if line < 1 || line > len(src.lines) || len(src.lines[line-1]) > longestLine {
		return ""
	}
	text := src.lines[line-1]
	if column := src.masked[line]; column > 0 {
		runes := []rune(text)
		text = string(runes[:min(column-1, len(runes))]) + "***"
	}
	return mask(text)
}
