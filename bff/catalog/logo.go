package catalog

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"io/fs"
	"path"
	"strings"
)

const (
	maxLogo   = 64 << 10 // bytes
	maxPixels = 1024     // of each side of a PNG
)

const (
	typeSVG = "image/svg+xml"
	typePNG = "image/png"
)

// logo reads the logo from a file, a data: URL or the value itself.
func (r *reader) logo(line int, value string) {
	logo, err := r.logoOf(value)
	if err != nil {
		r.fail(line, "the logo %v", err)
		return
	}
	r.c.Logo = logo
}

func (r *reader) logoOf(value string) (*Logo, error) {
	switch {
	case strings.HasPrefix(value, "<"):
		return checkLogo(typeSVG, []byte(value))
	case strings.HasPrefix(value, "data:"):
		for _, kind := range []string{typeSVG, typePNG} {
			text, ok := strings.CutPrefix(value, "data:"+kind+";base64,")
			if !ok {
				continue
			}
			data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
			if err != nil {
				return nil, errors.New("is not base64; encode the file with: base64 -w0 FILE")
			}
			return checkLogo(kind, data)
		}
		return nil, errors.New("has an unknown type; begin the URL with data:image/svg+xml;base64, or data:image/png;base64,")
	case r.open == nil:
		return nil, fmt.Errorf("%q is a path, and an embedded catalog has no directory; give the text of the SVG or a data: URL", value)
	}
	kind := map[string]string{".svg": typeSVG, ".png": typePNG}[strings.ToLower(path.Ext(value))]
	if kind == "" {
		return nil, fmt.Errorf("%q is neither an .svg nor a .png file; convert it to one of them", value)
	}
	data, err := r.open(value)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%q does not exist; the path begins at the directory of the catalog", value)
		}
		return nil, fmt.Errorf("%q cannot be read: %w", value, err)
	}
	return checkLogo(kind, data)
}

// checkLogo refuses what is not an image of its type.
func checkLogo(kind string, data []byte) (*Logo, error) {
	if len(data) > maxLogo {
		return nil, fmt.Errorf("has %d bytes; give at most %d", len(data), maxLogo)
	}
	if kind == typePNG {
		image, err := png.DecodeConfig(bytes.NewReader(data))
		if err != nil {
			return nil, errors.New("is not a PNG image; give a .png or .svg file")
		}
		if image.Width > maxPixels || image.Height > maxPixels {
			return nil, fmt.Errorf("has %d × %d pixels; give at most %d × %[3]d", image.Width, image.Height, maxPixels)
		}
		return &Logo{data, kind}, nil
	}
	if err := checkSVG(data); err != nil {
		return nil, err
	}
	return &Logo{data, kind}, nil
}

// checkSVG refuses scripts, and references to other files, which an image cannot
// load. The pages show a logo as an image only, in which no script runs; these
// would only run if a user opened the file's address, and its
// Content-Security-Policy forbids them there.
func checkSVG(data []byte) error {
	d := xml.NewDecoder(bytes.NewReader(data))
	for first := true; ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) && !first {
			return nil
		}
		if err != nil {
			return errors.New("is not an SVG image; it must be well-formed XML with the root element svg")
		}
		switch t := token.(type) {
		case xml.Directive:
			return errors.New("has a DOCTYPE; remove it")
		case xml.StartElement:
			if first && (t.Name.Local != "svg" || t.Name.Space != "http://www.w3.org/2000/svg") {
				return errors.New(`is not an SVG image; its root element must be svg with xmlns="http://www.w3.org/2000/svg"`)
			}
			first = false
			if name := strings.ToLower(t.Name.Local); name == "script" || name == "foreignobject" {
				return fmt.Errorf("has an element %s; remove it", t.Name.Local)
			}
			for _, a := range t.Attr {
				name := strings.ToLower(a.Name.Local)
				if strings.HasPrefix(name, "on") {
					return fmt.Errorf("has a script in the attribute %s; remove it", a.Name.Local)
				}
				if target := strings.TrimSpace(a.Value); name == "href" && !strings.HasPrefix(target, "#") && !strings.HasPrefix(target, "data:image/") {
					return errors.New("refers to another file; put it into the image")
				}
			}
		}
	}
}
