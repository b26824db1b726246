package admin

import (
	"strings"
	"testing"
	"time"
)

func TestVisible(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", "orders.created", "orders.created"},
		{"other scripts", "заказ 注文 مرحبا é", "заказ 注文 مرحبا é"},
		{"controls", "a\x00b\x1b[31m\x7f\n", "a␀b␛[31m␡␊"},
		{"bidirectional override", "invoice\u202egpj.exe", "invoice⟨U+202E⟩gpj.exe"},
		{"nothing to see", "a\u200bb\u00adc\ufeff", "a⟨U+200B⟩b⟨U+00AD⟩c⟨U+FEFF⟩"},
		{"odd spaces", "a\u00a0b\u3000", "a⟨U+00A0⟩b⟨U+3000⟩"},
		{"line separators", "a\u2028b\u2029", "a⟨U+2028⟩b⟨U+2029⟩"},
		{"no UTF-8", "a\xffb\xe2\x82", "a⟨FF⟩b⟨E2⟩⟨82⟩"},
		{"a real replacement character", "a\ufffdb", "a\ufffdb"},
		{"tags", "a\U000e0041", "a⟨U+E0041⟩"},
		{"markup is the template's", "<b>&", "<b>&"},
	}
	for _, test := range tests {
		if got := visible(test.in); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	if got, want := visibleText("a\r\n\tb\rc\u202e"), "a\n\tb␍c⟨U+202E⟩"; got != want {
		t.Errorf("lines: got %q, want %q", got, want)
	}
}

func TestPrettyJSON(t *testing.T) {
	got, ok := prettyJSON([]byte(` {"id":12345678901234567890,"n":1.50,"s":"[{\"","e":[]} `))
	want := "{\n  \"id\": 12345678901234567890,\n  \"n\": 1.50,\n  \"s\": \"[{\\\"\",\n  \"e\": []\n}"
	if !ok || got != want {
		t.Errorf("got %v\n%s\nwant\n%s", ok, got, want)
	}
	deep := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	for name, data := range map[string][]byte{
		"no JSON": []byte("x"), "nothing": nil, "two values": []byte("1 2"), "no UTF-8": []byte("\"\xff\""), "too deep": deep(maxPrettyDepth + 1),
	} {
		if _, ok := prettyJSON(data); ok {
			t.Errorf("%s was pretty printed", name)
		}
	}
	if _, ok := prettyJSON(deep(maxPrettyDepth)); !ok {
		t.Error("the deepest allowed was not pretty printed")
	}
}

func TestFigures(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{digits(0), "0"}, {digits(999), "999"}, {digits(12_438), "12,438"}, {digits(uint64(1_000_000)), "1,000,000"}, {digits(-1234), "-1,234"}, {digits(-123), "-123"},
		{ago(-time.Minute), "in the future"}, {ago(-time.Second), "just now"},
		{ago(3 * time.Second), "just now"}, {ago(90 * time.Second), "90 s ago"},
		{ago(5 * time.Minute), "5 min ago"}, {ago(5 * time.Hour), "5 h ago"}, {ago(49 * time.Hour), "2 days ago"},
		{duration(90 * time.Second), "1m30s"}, {duration(30 * time.Second), "30s"}, {duration(24 * time.Hour), "24h"},
		{duration(10 * time.Minute), "10m"}, {duration(7 * 24 * time.Hour), "7d"}, {duration(90 * time.Minute), "1h30m"}, {duration(0), "0s"},
		{took(300 * time.Microsecond), "300 µs"}, {took(1234 * time.Millisecond), "1234 ms"}, {took(15 * time.Second), "15.0 s"},
		{size(1), "1 byte"}, {size(1023), "1023 bytes"}, {size(1536), "1.5 KiB"}, {size(3 << 20), "3.0 MiB"},
		{cut("ééé", 3), "ééé"}, {cut("éééé", 3), "éé…"},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}
