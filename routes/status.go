package routes

import "strings"

// Verdict is what the rules say about an HTTP status, and whether they say anything.
// An exact rule beats a range and a range beats a class. Of the nil StatusRules it
// is false for every status.
func (s StatusRules) Verdict(status int) (Verdict, bool) {
	var best Verdict
	bestRank := 0
	for _, rule := range s {
		if status < rule.From || status > rule.To {
			continue
		}
		if rank := rule.rank(); rank > bestRank {
			best, bestRank = rule.Verdict, rank
		}
	}
	return best, bestRank > 0
}

// rank is higher the more specific the rule is: class 1, range 2, exact 3.
func (r StatusRule) rank() int {
	switch {
	case strings.HasSuffix(r.Pattern, "xx"):
		return 1
	case r.From != r.To:
		return 2
	default:
		return 3
	}
}
