package telemetry

import (
	"maps"
	"os"
	"strings"
	"sync"
)

// Prefix is that of OpenTelemetry's standard variables.
const Prefix = "OTEL_"

var environment sync.Mutex

// inEnvironment calls f with these and no other variables of OpenTelemetry in the
// environment of the process, where its SDK reads them. They may come from .env or from
// the caller of Run.
func inEnvironment[T any](variables map[string]string, f func() (T, error)) (T, error) {
	environment.Lock()
	defer environment.Unlock()
	before := map[string]string{}
	for _, pair := range os.Environ() {
		if name, value, _ := strings.Cut(pair, "="); strings.HasPrefix(name, Prefix) {
			before[name] = value
		}
	}
	if !maps.Equal(before, variables) {
		replaceEnvironment(before, variables)
		defer replaceEnvironment(variables, before)
	}
	return f()
}

// replaceEnvironment removes some variables and sets others. Their names and values come
// from an environment or from .env, whose parser knows the same forms, so no error occurs.
func replaceEnvironment(old, now map[string]string) {
	for name := range old {
		_ = os.Unsetenv(name)
	}
	for name, value := range now {
		_ = os.Setenv(name, value)
	}
}
