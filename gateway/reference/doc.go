// Package reference owns the page that shows the API to people: Swagger UI, from
// the files that swaggest/swgui embeds, on a page with a Content-Security-Policy
// that allows these files alone. It leaves the content to the OpenAPI document and
// authorization to the server: requests from the page are like any others.
package reference
