package requestid

import (
	"fmt"
	"log/slog"
	"slices"
	"unicode/utf8"
)

const (
	// maxText bounds a message and each text attribute of a log line, in bytes.
	// Clients determine the length of paths, header values and error texts.
	maxText = 1 << 10
	// maxStack bounds the attribute "stack", which does not come from clients.
	maxStack = 32 << 10
)

// bound returns the record with long texts cut, usually the record itself.
func bound(r slog.Record) slog.Record {
	long := len(r.Message) > maxText
	r.Attrs(func(a slog.Attr) bool {
		long = long || isLong(a)
		return !long
	})
	if !long {
		return r
	}
	short := slog.NewRecord(r.Time, r.Level, cut(r.Message, maxText), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		short.AddAttrs(boundAttr(a))
		return true
	})
	return short
}

func limit(a slog.Attr) int {
	if a.Key == "stack" {
		return maxStack
	}
	return maxText
}

func isLong(a slog.Attr) bool {
	switch a.Value.Kind() {
	case slog.KindString:
		return len(a.Value.String()) > limit(a)
	case slog.KindAny:
		text, ok := textOf(a.Value.Any())
		return ok && len(text) > limit(a)
	case slog.KindGroup:
		return slices.ContainsFunc(a.Value.Group(), isLong)
	}
	return false
}

func boundAttr(a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(cut(a.Value.String(), limit(a)))
	case slog.KindAny:
		if text, ok := textOf(a.Value.Any()); ok && len(text) > limit(a) {
			a.Value = slog.StringValue(cut(text, limit(a)))
		}
	case slog.KindGroup:
		members := make([]slog.Attr, 0, len(a.Value.Group()))
		for _, member := range a.Value.Group() {
			members = append(members, boundAttr(member))
		}
		a.Value = slog.GroupValue(members...)
	}
	return a
}

// textOf returns the text that a handler writes for a value.
func textOf(v any) (string, bool) {
	switch v := v.(type) {
	case error, fmt.Stringer, []string:
		return fmt.Sprint(v), true
	case []byte:
		return string(v), true
	}
	return "", false
}

// cut shortens a text between two characters and appends its length.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	n := most
	for n > 0 && most-n < utf8.UTFMax && !utf8.RuneStart(text[n]) {
		n--
	}
	return fmt.Sprintf("%s… (%d bytes)", text[:n], len(text))
}
