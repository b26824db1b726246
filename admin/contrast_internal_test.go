package admin

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestContrast holds the tokens of the style sheet to WCAG 2.2 AA: 4.5 : 1 for text,
// 3 : 1 for the borders of controls.
func TestContrast(t *testing.T) {
	data, err := files.ReadFile("static/relay.css")
	if err != nil {
		t.Fatal(err)
	}
	light, rest, ok := strings.Cut(string(data), "@media (prefers-color-scheme: dark)")
	dark, _, ok2 := strings.Cut(rest, "/* Ground */")
	if !ok || !ok2 {
		t.Fatal("the tokens of light and dark are not where they were")
	}
	pairs := []struct {
		text, ground string
		least        float64
	}{
		{"text", "page", 4.5}, {"text", "panel", 4.5}, {"text", "hover", 4.5}, {"text", "sunken", 4.5}, {"text", "busy-tint", 4.5},
		{"quiet", "page", 4.5}, {"quiet", "panel", 4.5}, {"quiet", "hover", 4.5}, {"quiet", "busy-tint", 4.5},
		{"accent", "page", 4.5}, {"accent", "panel", 4.5}, {"accent", "hover", 4.5}, {"accent", "busy-tint", 4.5},
		{"accent-strong", "panel", 4.5}, {"accent-strong", "hover", 4.5},
		{"accent-text", "accent", 4.5}, {"accent-text", "accent-strong", 4.5},
		{"ok", "ok-tint", 4.5}, {"busy", "busy-tint", 4.5}, {"warn", "warn-tint", 4.5}, {"bad", "bad-tint", 4.5}, {"bad", "panel", 4.5}, {"bad", "hover", 4.5},
		{"line-strong", "panel", 3}, {"line-strong", "page", 3},
	}
	for name, css := range map[string]string{"light": light, "dark": dark} {
		tokens := map[string]string{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6});`).FindAllStringSubmatch(css, -1) {
			tokens[m[1]] = m[2]
		}
		for _, p := range pairs {
			got := contrast(luminance(t, tokens[p.text]), luminance(t, tokens[p.ground]))
			if got < p.least {
				t.Errorf("%s: %s on %s has %.2f : 1, want %.1f", name, p.text, p.ground, got, p.least)
			}
		}
	}
}

func contrast(a, b float64) float64 { return (max(a, b) + 0.05) / (min(a, b) + 0.05) }

// luminance is WCAG's relative luminance of a colour rrggbb.
func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	n, err := strconv.ParseUint(colour, 16, 24)
	if err != nil {
		t.Fatalf("colour %q: %v", colour, err)
	}
	linear := func(v uint64) float64 {
		c := float64(v&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(n>>16) + 0.7152*linear(n>>8) + 0.0722*linear(n)
}
