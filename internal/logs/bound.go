package logs

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxText bounds a message and each text attribute of a log line, in bytes.
	// Clients determine the length of paths, header values and error texts.
	maxText = 1 << 10
	// maxStack bounds the attribute "stack", which does not come from clients.
	maxStack = 32 << 10
)

// bound returns the record with texts that are fit to print, usually the record itself,
// and whether it has the id of its request already.
func bound(r slog.Record) (_ slog.Record, identified bool) {
	unfit := !isFit(r.Message, maxText)
	eachAttr(r, func(a slog.Attr) bool {
		identified = identified || a.Key == RequestID
		unfit = unfit || isUnfit(a)
		return true
	})
	if !unfit {
		return r, identified
	}
	fit := slog.NewRecord(r.Time, r.Level, clean(r.Message, maxText), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		fit.AddAttrs(boundAttr(a))
		return true
	})
	return fit, identified
}

// eachAttr calls f with each attribute of a record, until f returns false. Those of a group
// without a name are attributes of the record (slog.Handler).
func eachAttr(r slog.Record, f func(slog.Attr) bool) {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "" || a.Value.Kind() != slog.KindGroup {
			return f(a)
		}
		return !slices.ContainsFunc(a.Value.Group(), func(member slog.Attr) bool { return !f(member) })
	})
}

func limit(a slog.Attr) int {
	if a.Key == "stack" {
		return maxStack
	}
	return maxText
}

func isUnfit(a slog.Attr) bool {
	switch a.Value.Kind() {
	case slog.KindString:
		return !isFit(a.Value.String(), limit(a))
	case slog.KindAny:
		text, ok := textOf(a.Value.Any())
		return ok && !isFit(text, limit(a))
	case slog.KindGroup:
		return slices.ContainsFunc(a.Value.Group(), isUnfit)
	}
	return false
}

func boundAttr(a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(clean(a.Value.String(), limit(a)))
	case slog.KindAny:
		if text, ok := textOf(a.Value.Any()); ok && !isFit(text, limit(a)) {
			a.Value = slog.StringValue(clean(text, limit(a)))
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

// isFit reports whether clean changes nothing.
func isFit(text string, most int) bool {
	if len(text) > most {
		return false
	}
	for i := range len(text) {
		if text[i] >= 0x7F { // handlers escape those below a space
			return strings.IndexFunc(text, isUnprintable) < 0 && utf8.ValidString(text)
		}
	}
	return true
}

func isUnprintable(r rune) bool { return r >= 0x7F && !unicode.IsPrint(r) }

// clean shortens a text between two characters and appends its length, replaces what is
// not UTF-8, and escapes what cannot be printed: C1 control characters, and those that
// change the direction of the text around them.
func clean(text string, most int) string {
	if isFit(text, most) {
		return text
	}
	end := ""
	if len(text) > most {
		end = fmt.Sprintf("… (%d bytes)", len(text))
		n := most
		for n > 0 && most-n < utf8.UTFMax && !utf8.RuneStart(text[n]) {
			n--
		}
		text = text[:n]
	}
	var b strings.Builder
	for _, r := range text {
		if isUnprintable(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r) // U+FFFD for a byte that is not UTF-8
		}
	}
	return b.String() + end
}
