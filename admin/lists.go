package admin

import (
	"net/url"
	"strings"
)

// column is a column of a table.
type column struct {
	Text, Class string
	Unseen      bool // for screen readers only
}

// cols makes the columns of a table of their names: # begins one of numbers, ! one
// whose name only screen readers tell.
func cols(names ...string) []column {
	list := make([]column, len(names))
	for i, name := range names {
		c := column{Text: strings.TrimLeft(name, "#!")}
		switch name[0] {
		case '#':
			c.Class = "num"
		case '!':
			c.Unseen = true
		}
		list[i] = c
	}
	return list
}

// choice is an option of a select, or a hidden field.
type choice struct {
	Value, Text string
	Chosen      bool
}

// choices makes the options of a select; what is chosen is one of them, even when it
// is a route that the routes file no longer has.
func choices[T ~string](values []T, chosen string) []choice {
	found := chosen == ""
	list := make([]choice, 0, len(values)+1)
	for _, v := range values {
		list = append(list, choice{string(v), visible(strings.ReplaceAll(string(v), "_", " ")), string(v) == chosen})
		found = found || string(v) == chosen
	}
	if !found {
		list = append(list, choice{chosen, visible(chosen), true})
	}
	return list
}

// ages are the options of how far back a list goes.
func ages(chosen string) []choice {
	list := choices([]string{"1h", "24h", "7d"}, chosen)
	for i, text := range []string{"the last hour", "the last 24 hours", "the last 7 days"} {
		list[i].Text = text
	}
	return list
}

// tab leads to another view of the same thing.
type tab struct {
	Text, Path string
	Current    bool
}

// pager leads through the pages of a list.
type pager struct {
	Newest, Older string // paths of the first and the next page; empty: there is none to go to
	First, Then   string // what they are called
}

// pagerOf is the pager of the list at a path, with the cursor of the next page.
func pagerOf(path string, query url.Values, next string) pager {
	p := pager{First: "Newest", Then: "Older"}
	if query.Get("cursor") != "" {
		p.Newest = listPath(path, query, "cursor", "")
	}
	if next != "" {
		p.Older = listPath(path, query, "cursor", next)
	}
	return p
}

// listPath is a list with one parameter changed and the empty ones left out.
func listPath(path string, query url.Values, name, value string) string {
	q := url.Values{}
	for n, values := range query {
		if n != name && values[0] != "" {
			q[n] = values[:1]
		}
	}
	if value != "" {
		q.Set(name, value)
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// tabsOf are the tabs of a list that has a parameter state; empty stands for the first.
func tabsOf(path string, query url.Values, words []choice) []tab {
	first := url.Values{}
	for name, values := range query {
		if name != "cursor" {
			first[name] = values
		}
	}
	list := make([]tab, len(words))
	for i, w := range words {
		list[i] = tab{w.Text, listPath(path, first, "state", w.Value), w.Chosen}
	}
	return list
}
