package admin

import (
	"maps"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// The headers of a message are of three classes. Those that are locked belong to NATS or
// to relay; an edited copy has them as the original has. The values of those that are
// sensitive no page shows; they can be typed anew. All others are free.

// lockedHeader says that NATS or relay gives the header its meaning.
func lockedHeader(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "nats-") || strings.HasPrefix(name, "relay-") || strings.HasPrefix(name, "webhook-") ||
		name == "status" || name == "description"
}

// sensitiveHeader says that a header of that name is likely to hold a secret.
func sensitiveHeader(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc([]string{"authorization", "cookie", "token", "secret", "password", "credential", "api-key", "apikey"},
		func(word string) bool { return strings.Contains(name, word) })
}

// hidden stands for the value of a sensitive header.
const hidden = "••••••••"

// headersOf are headers to look at, in the order of their names.
func headersOf(headers map[string][]string) []headerView {
	var list []headerView
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		for _, v := range headers[name] {
			if sensitiveHeader(name) {
				v = hidden
			}
			list = append(list, headerView{visible(name), visible(v)})
		}
	}
	return list
}

// lockedOf are those that are locked.
func lockedOf(headers map[string][]string) map[string][]string {
	list := maps.Clone(headers)
	maps.DeleteFunc(list, func(name string, _ []string) bool { return !lockedHeader(name) })
	return list
}

// headerText is a header a line, as one edits them: without those that are locked, and
// with the sensitive values of the original hidden.
func headerText(headers, original map[string][]string) string {
	var lines []string
	for name, values := range headers {
		if lockedHeader(name) {
			continue
		}
		for _, v := range values {
			if sensitiveHeader(name) && slices.Contains(original[name], v) {
				v = hidden
			}
			lines = append(lines, name+": "+v)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// parseHeaders reads what was typed over the headerText of the original.
func parseHeaders(text string, original map[string][]string) (map[string][]string, error) {
	headers := map[string][]string{}
	for i, line := range strings.Split(text, "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch {
		case !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value):
			return nil, invalid("invalid_body", "line %d of the headers: Name: value wanted, got %q", i+1, visible(line))
		case lockedHeader(name):
			return nil, invalid("invalid_body", "line %d of the headers: %s is locked, as NATS or relay gives it its meaning; take the line out", i+1, visible(name))
		}
		headers[name] = append(headers[name], value)
	}
	for name, values := range headers {
		for i, v := range values {
			if v != hidden || !sensitiveHeader(name) {
				continue
			}
			if len(values) != len(original[name]) { // whose value it would be is not clear
				return nil, invalid("invalid_body", "the headers: type the value of %s instead of %s", visible(name), hidden)
			}
			values[i] = original[name][i]
		}
	}
	maps.Copy(headers, lockedOf(original))
	return headers, nil
}
