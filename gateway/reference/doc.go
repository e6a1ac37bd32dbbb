// Package reference owns the page on which people read about the API and try
// it: Swagger UI, from the assets that swaggest/swgui embeds, on a page of our
// own under a policy that lets nothing run but these files. It leaves what is
// read there to the OpenAPI document, and who may call to the server: a request
// from the page is one like any other.
package reference
