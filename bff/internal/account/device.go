package account

import (
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/catalog"
)

// Device describes a browser by its User-Agent, so that users recognise their
// sessions: "Firefox on Windows" in the words of a catalog. It is for display
// only: a browser can send any User-Agent.
func Device(userAgent string, t *catalog.Catalog) string {
	if strings.Contains(userAgent, "Electron/") {
		return t.Text("device.desktop")
	}
	browser, system := firstOf(userAgent, browsers), firstOf(userAgent, systems)
	switch {
	case browser != "" && system != "":
		return t.Text("device.browser-on-system", "browser", browser, "system", system)
	case browser != "":
		return browser
	case system != "":
		return t.Text("device.system", "system", system)
	}
	// Programs name themselves first: "curl/8.5.0", "Go-http-client/2.0".
	product, _, _ := strings.Cut(userAgent, "/")
	if product != "" && len(product) <= 32 && !strings.ContainsFunc(product, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.')
	}) && product != "Mozilla" {
		return product
	}
	return t.Text("device.unknown")
}

// A mark is a part of a User-Agent and what it tells.
type mark struct{ token, name string }

func firstOf(userAgent string, marks []mark) string {
	for _, m := range marks {
		if strings.Contains(userAgent, m.token) {
			return m.name
		}
	}
	return ""
}

// browsers lists the marks of browsers. Most browsers also name those that they
// descend from, so that the order counts: the ones named by the fewest others
// come first. Versions are left out, since they change with each update.
var browsers = []mark{
	{"Edg/", "Edge"}, {"EdgA/", "Edge"}, {"EdgiOS/", "Edge"},
	{"OPR/", "Opera"}, {"OPT/", "Opera"},
	{"SamsungBrowser/", "Samsung Internet"},
	{"Vivaldi/", "Vivaldi"},
	{"YaBrowser/", "Yandex Browser"},
	{"DuckDuckGo/", "DuckDuckGo"}, {"Ddg/", "DuckDuckGo"},
	{"FxiOS/", "Firefox"}, {"Firefox/", "Firefox"},
	{"CriOS/", "Chrome"}, {"HeadlessChrome/", "Headless Chrome"}, {"Chrome/", "Chrome"}, {"Chromium/", "Chrome"},
	{"Safari/", "Safari"},
}

// systems lists the marks of operating systems. Phones also name a desktop
// system, so they come first.
var systems = []mark{
	{"iPhone", "iPhone"}, {"iPad", "iPad"},
	{"Android", "Android"},
	{"CrOS", "ChromeOS"},
	{"Windows", "Windows"},
	{"Macintosh", "Mac"},
	{"Linux", "Linux"}, {"FreeBSD", "FreeBSD"}, {"OpenBSD", "OpenBSD"},
}
