package routes

import "strings"

// nearest is the candidate that is a slip of the pen away from word: the same but for
// case and hyphens, or within two edits. It is empty when there is none.
func nearest(word string, candidates []string) string {
	best, bestEdits := "", 3
	folded := fold(word)
	for _, candidate := range candidates {
		edits := editDistance(folded, fold(candidate))
		// A short word is within two edits of nearly everything.
		if edits < bestEdits && 2*edits < max(len(candidate), len(word)) {
			best, bestEdits = candidate, edits
		}
	}
	return best
}

func fold(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }

// editDistance counts the insertions, removals, replacements and swaps of neighbours
// that turn a into b; 3 stands for everything above 2.
func editDistance(a, b string) int {
	const longest = 64
	if len(a) > len(b)+2 || len(b) > len(a)+2 || len(b) > longest {
		return 3
	}
	var rows [3][longest + 1]int
	before, above, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row = above, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return min(row[len(b)], 3)
}
