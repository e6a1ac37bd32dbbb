package bff

// LocalPath is what decides about every returnTo.
func LocalPath(raw string) bool { return localPath(raw) }

// Matches parses a pattern of Config.Protect and tells whether it covers a
// path.
func Matches(pattern, path string) (bool, error) {
	p, err := parsePattern(pattern)
	return err == nil && p.match(path), err
}
