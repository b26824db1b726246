package routes

import "strings"

// Matches says whether the filter, which may hold the wildcards * (one token) and >
// (one token or more, at the end), matches the subject, which holds none.
func Matches(filter, subject string) bool {
	for {
		f, filterRest, filterMore := strings.Cut(filter, ".")
		if f == ">" {
			return subject != ""
		}
		s, subjectRest, subjectMore := strings.Cut(subject, ".")
		if f != "*" && f != s {
			return false
		}
		if !filterMore || !subjectMore {
			return filterMore == subjectMore
		}
		filter, subject = filterRest, subjectRest
	}
}

// Overlap says whether there is a subject that both filters match.
func Overlap(a, b string) bool {
	for {
		x, aRest, aMore := strings.Cut(a, ".")
		y, bRest, bMore := strings.Cut(b, ".")
		if x == ">" || y == ">" {
			return true
		}
		if x != y && x != "*" && y != "*" {
			return false
		}
		if !aMore || !bMore {
			return aMore == bMore
		}
		a, b = aRest, bRest
	}
}
