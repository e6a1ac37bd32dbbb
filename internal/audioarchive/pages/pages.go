// Package pages owns the pages of the sample application: browsing the
// products, and offering and changing one's own. It leaves the frame around
// them to bff/web, and everything that is said of a product to the API.
package pages

import (
	"embed"
	"regexp"

	"github.com/gatehouse-dev/gatehouse/bff/web"
)

//go:embed templates/*.html assets
var files embed.FS

// Section is these pages.
var Section = web.Section{
	Files: files,
	// How the server writes the identifier of a product.
	ID: regexp.MustCompile("^[a-z2-7]{26}$"),
	Pages: []web.Page{
		{Path: "/products", Template: "products.html", Title: "Products", Nav: "Products", Script: "products.js",
			About: "Audio Archive, the sample application: a marketplace for audio-workstation project files, which anybody may browse."},
		{Path: "/products/{id}", Template: "product.html", Title: "Product", Script: "product.js"},
		{Path: "/my/products", Template: "myproducts.html", Title: "My products", Script: "products.js", Personal: true},
		{Path: "/my/products/new", Template: "productform.html", Title: "Offer a product", Script: "product-form.js", Personal: true},
		{Path: "/my/products/{id}", Template: "productform.html", Title: "Change a product", Script: "product-form.js", Personal: true},
	},
}
