package catalog

// ParseFilter compiles a filter and throws the result away.
func ParseFilter(text string) error {
	_, err := parseFilter(text)
	return err
}
