package telemetry

// InEnvironment is inEnvironment for tests of what f sees.
var InEnvironment = inEnvironment[map[string]string]
