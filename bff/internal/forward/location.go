package forward

import (
	"net/url"
	"strings"
)

// localize returns the Location of an answer. One at a server of the API becomes the address
// under the base URL that leads there: servers that ignore X-Forwarded-Host name themselves
// in redirects, by names that browsers do not know. All others are unchanged.
func (api *API) localize(location string) string {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" || u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https" {
		return location
	}
	for _, server := range api.cfg.Servers {
		path, below := strings.CutPrefix(u.EscapedPath(), strings.TrimSuffix(server.EscapedPath(), "/"))
		if host(u) != host(server) || !below || path != "" && path[0] != '/' {
			continue
		}
		if api.cfg.Strip {
			path = api.cfg.Path + path
		}
		local := *u
		local.Scheme, local.Host, local.User = api.cfg.Base.Scheme, api.cfg.Base.Host, nil
		local.RawPath = path
		local.Path, _ = url.PathUnescape(path) // a part of a valid path
		return local.String()
	}
	return location
}

// host returns the host of a URL without a default port.
func host(u *url.URL) string {
	name := strings.ToLower(u.Host)
	return strings.TrimSuffix(strings.TrimSuffix(name, ":80"), ":443")
}
