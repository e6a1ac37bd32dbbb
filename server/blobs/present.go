package blobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gabriel-vasile/mimetype"
)

// octets is the type of content of which nothing is known.
const octets = "application/octet-stream"

// headBytes is how much of a file is needed to detect its type.
const headBytes = 3 << 10

// AudioType returns the media type of audio content by its first bytes, of which
// 3,072 are enough; "" for everything else. What a user says of a file does not
// matter.
func AudioType(head []byte) string {
	detected := mimetype.Detect(head[:min(len(head), headBytes)])
	if mediaType := detected.String(); strings.HasPrefix(mediaType, "audio/") {
		return mediaType
	}
	return ""
}

// scripts are parts of media types that a page of the same origin can run or apply. Its
// policy, such as script-src 'self', would admit a file that an attacker has uploaded.
var scripts = []string{"javascript", "ecmascript", "jscript", "livescript", "text/css", "application/wasm"}

// presentation returns the type of a file and its Content-Disposition.
func (f *File) presentation(ctx context.Context) (contentType, disposition string, err error) {
	mediaType, params, malformed := mime.ParseMediaType(f.ContentType)
	if malformed != nil {
		return octets, Attachment(f.Name), nil
	}
	if strings.HasPrefix(mediaType, "audio/") && f.Size > 0 {
		head, err := f.head(ctx)
		if err != nil {
			return "", "", err
		}
		if audio := AudioType(head); audio != "" {
			return audio, dispositionOf("inline", f.Name), nil
		}
		return octets, Attachment(f.Name), nil
	}
	if slices.ContainsFunc(scripts, func(part string) bool { return strings.Contains(mediaType, part) }) {
		return octets, Attachment(f.Name), nil
	}
	return cmp.Or(mime.FormatMediaType(mediaType, params), octets), Attachment(f.Name), nil
}

// head returns the beginning of the content.
func (f *File) head(ctx context.Context) ([]byte, error) {
	length := min(f.Size, headBytes)
	content, err := f.Open(ctx, 0, length)
	if err != nil {
		return nil, fmt.Errorf("blobs: open %d bytes at 0: %w", length, err)
	}
	defer content.Close() // nothing was written
	head := make([]byte, length)
	n, err := io.ReadFull(content, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("blobs: read the beginning: %w", err)
	}
	return head[:n], nil
}

// Attachment returns a Content-Disposition with which browsers save an answer under
// a name (RFC 6266). The name may come from a user: of a path only the last
// element is kept, and control characters, those that change the direction of
// text, and those that file systems reserve are replaced. A long name loses its
// middle, not its extension.
func Attachment(name string) string { return dispositionOf("attachment", name) }

func dispositionOf(kind, name string) string {
	name = fileName(name)
	if name == "" {
		return kind
	}
	ascii := strings.Map(func(c rune) rune {
		if c > '~' || c == '%' { // some browsers decode it
			return '_'
		}
		return c
	}, name)
	value := kind + `; filename="` + ascii + `"`
	if ascii != name {
		value += "; filename*=UTF-8''" + extended(name)
	}
	return value
}

// maxName is the longest name that all file systems take, in bytes.
const maxName = 255

// fileName returns a name that is safe to save a file under, "" if nothing is left.
func fileName(name string) string {
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	name = strings.Map(func(c rune) rune {
		switch {
		case c == utf8.RuneError, strings.ContainsRune(`"<>:|?*`, c):
			return '_'
		case unicode.Is(unicode.Zs, c):
			return ' '
		case !unicode.IsPrint(c): // control characters, and Cf, which has those of direction
			return -1
		}
		return c
	}, name)
	name = strings.TrimRight(strings.TrimSpace(name), ". ") // Windows drops them
	if strings.HasPrefix(name, ".") {
		name = "_" + name[1:] // hidden
	}
	if len(name) <= maxName {
		return name
	}
	extension := path.Ext(name)
	if len(extension) > 16 {
		extension = ""
	}
	cut := maxName - len(extension)
	for !utf8.RuneStart(name[cut]) {
		cut--
	}
	return name[:cut] + extension
}

// extended returns a value as RFC 8187 §3.2.1 encodes it.
func extended(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(s) {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$&+-.^_`|~", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
