package bff

import "strings"

// device describes a browser by its User-Agent, so that a person recognises
// their sessions: "Firefox on Windows". It is for reading only; what a browser
// says of itself proves nothing.
func device(userAgent string) string {
	browser, system := firstOf(userAgent, browsers), firstOf(userAgent, systems)
	switch {
	case browser != "" && system != "":
		return browser + " on " + system
	case browser != "":
		return browser
	case system != "":
		return "A browser on " + system
	}
	// Programs name themselves first: "curl/8.5.0", "Go-http-client/2.0".
	product, _, _ := strings.Cut(userAgent, "/")
	if product != "" && len(product) <= 32 && !strings.ContainsFunc(product, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.')
	}) && product != "Mozilla" {
		return product
	}
	return "Unknown device"
}

// A mark is what in a User-Agent gives something away.
type mark struct{ token, name string }

func firstOf(userAgent string, marks []mark) string {
	for _, m := range marks {
		if strings.Contains(userAgent, m.token) {
			return m.name
		}
	}
	return ""
}

// Nearly every browser also says that it is those it descends from, so that
// the order counts: who is named by fewest others comes first. Versions are
// left out: they change at each update, and nobody knows theirs.
var browsers = []mark{
	{"Edg/", "Edge"}, {"EdgA/", "Edge"}, {"EdgiOS/", "Edge"},
	{"OPR/", "Opera"}, {"OPT/", "Opera"},
	{"SamsungBrowser/", "Samsung Internet"},
	{"Vivaldi/", "Vivaldi"},
	{"YaBrowser/", "Yandex Browser"},
	{"DuckDuckGo/", "DuckDuckGo"}, {"Ddg/", "DuckDuckGo"},
	{"Electron/", "A desktop application"},
	{"FxiOS/", "Firefox"}, {"Firefox/", "Firefox"},
	{"CriOS/", "Chrome"}, {"HeadlessChrome/", "Headless Chrome"}, {"Chrome/", "Chrome"}, {"Chromium/", "Chrome"},
	{"Safari/", "Safari"},
}

// Phones say that they are like a desktop system too.
var systems = []mark{
	{"iPhone", "iPhone"}, {"iPad", "iPad"},
	{"Android", "Android"},
	{"CrOS", "ChromeOS"},
	{"Windows", "Windows"},
	{"Macintosh", "Mac"},
	{"Linux", "Linux"}, {"FreeBSD", "FreeBSD"}, {"OpenBSD", "OpenBSD"},
}
