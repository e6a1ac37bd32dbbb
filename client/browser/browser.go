// Package browser embeds the npm package gatehouse-browser: the session of a
// browser, in TypeScript. The source is in src, the compiled modules in dist are
// generated from it (make generate). docs/browser.md describes the package.
package browser

import "embed"

// Files is the content of the npm package: package.json, README.md, LICENSE and
// dist. dist/gatehouse-browser.min.js is the core as one module, for pages
// without a bundler; the embedded pages import it.
//
//go:embed package.json README.md LICENSE dist
var Files embed.FS
