package catalog

// ParseFilter compiles a filter and drops the result.
func ParseFilter(text string) error {
	_, err := parseFilter(text)
	return err
}
