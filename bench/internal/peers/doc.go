// Package peers owns the rows of other products: how each is configured, fetched, started and signed
// in to. Each has the configuration that its documentation recommends for production, with its
// access log on and as many workers as processors; the configurations are files here, so that a
// reader can argue with them. The package leaves what a row is to package rows.
package peers
