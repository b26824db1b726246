package routes

// The codes of problems. They are stable: people filter by them.
const (
	codeSyntax       = "syntax"
	codeEncoding     = "encoding"
	codeEmpty        = "empty"
	codeDocuments    = "documents"
	codeLimit        = "limit"
	codeTag          = "tag"
	codeAlias        = "alias"
	codeUnknownKey   = "unknown-key"
	codeDuplicateKey = "duplicate-key"
	codeMissingKey   = "missing-key"
	codeNoValue      = "no-value"
	codeType         = "type"
	codeVersion      = "version"
	codeWord         = "word"
	codeRange        = "range"
	codeName         = "name"
	codeNumber       = "number"
	codeDuration     = "duration"
	codeSize         = "size"
	codeTime         = "time"
	codeSubject      = "subject"
	codeURL          = "url"
	codeHeader       = "header"
	codeCIDR         = "cidr"
	codeStatus       = "status"
	codeFilter       = "filter"
	codeReserved     = "reserved"
	codeDuplicate    = "duplicate"
	codeOverlap      = "overlap"
	codeConflict     = "conflict"
	codeExpansion    = "expansion"
	codeEnvUnset     = "env-unset"
	codeInlineSecret = "inline-secret"
	codeUnreadable   = "unreadable"
	codeFileMode     = "file-mode"
	codeUnknownRoute = "unknown-route"
	codeNearMiss     = "near-miss"
	codeHorizon      = "horizon"

	// CodeLive is of what only the servers can tell; the others are found by Load.
	CodeLive = "live"
)

// codeMeanings says what each code stands for, in the order of the reference.
func codeMeanings() [][2]string {
	return [][2]string{
		{codeSyntax, "The file is not YAML."},
		{codeEncoding, "The file is not UTF-8, or holds a control character."},
		{codeEmpty, "The file holds nothing but comments."},
		{codeDocuments, "The file holds a second YAML document."},
		{codeLimit, "The file is over a limit: 1 MiB, 32 levels, 10,000 values, 100 aliases."},
		{codeTag, "A value carries a YAML tag."},
		{codeAlias, "An alias has no anchor, or stands inside its own anchor."},
		{codeUnknownKey, "A key is not known, or not known at this place."},
		{codeDuplicateKey, "A key stands twice in one mapping."},
		{codeMissingKey, "A required key is not there."},
		{codeNoValue, "A key, a list item or a list has no value."},
		{codeType, "A value is of the wrong sort: a list for a text, a number for a text."},
		{codeVersion, "The version of the file is not known."},
		{codeWord, "A value is not one of the words allowed."},
		{codeRange, "A value is too small or too large."},
		{codeName, "A name has characters that it may not have."},
		{codeNumber, "A value is no number, or not written in plain decimal digits."},
		{codeDuration, "A value is no duration, or has no unit."},
		{codeSize, "A value is no number of bytes."},
		{codeTime, "A value is no point in time."},
		{codeSubject, "A subject is malformed, or its stream has no such subjects."},
		{codeURL, "A URL is malformed, or leads where no webhook is."},
		{codeHeader, "A header's name or value is malformed."},
		{codeCIDR, "A network is malformed."},
		{codeStatus, "A status pattern is malformed."},
		{codeFilter, "A filter expression does not compile."},
		{codeReserved, "A subject, stream or header belongs to relay, to NATS or to HTTP."},
		{codeDuplicate, "Something that is there once stands twice; both places are named."},
		{codeOverlap, "Two subjects or status ranges match the same; both places are named."},
		{codeConflict, "Two keys contradict each other."},
		{codeExpansion, "A ${…} is malformed."},
		{codeEnvUnset, "A ${NAME} has neither a value nor a default."},
		{codeInlineSecret, "A secret stands in the file."},
		{codeUnreadable, "A secret or a PEM file cannot be read: a warning while validating, an error while running."},
		{codeFileMode, "Warning: a file with a secret can be read by everybody."},
		{codeUnknownRoute, "No route of the file has that name."},
		{codeNearMiss, "Warning: a stream's name is nearly that of one under streams:."},
		{codeHorizon, "Warning: the retries take longer than the message is kept or tried."},
		{CodeLive, "With `relay validate --live`: the servers lack what the file needs, or refuse it."},
	}
}
