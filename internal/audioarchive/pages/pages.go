// Package pages owns the pages of the sample application: the list of products, a product, and the
// forms of a seller. It leaves the layout to bff/web, and the data to the API.
package pages

import (
	"embed"
	"regexp"

	"github.com/gatehouse-dev/gatehouse/bff/web"
)

//go:embed templates/*.html assets
var files embed.FS

// Section is the section of these pages.
var Section = web.Section{
	Files: files,
	// The format of product ids.
	ID: regexp.MustCompile("^[a-z2-7]{26}$"),
	Pages: []web.Page{
		{Path: "/products", Template: "products.html", Title: "Products", Nav: "Products", Script: "products.js",
			About: "Audio Archive, the sample application: a marketplace for audio-workstation project files, which everyone can browse."},
		{Path: "/products/{id}", Template: "product.html", Title: "Product", Script: "product.js"},
		{Path: "/my/orders", Template: "myorders.html", Title: "My orders", Script: "orders.js", Personal: true},
		{Path: "/my/products", Template: "myproducts.html", Title: "My products", Script: "products.js", Personal: true},
		{Path: "/my/products/new", Template: "productform.html", Title: "Offer a product", Script: "product-form.js", Personal: true},
		{Path: "/my/products/{id}", Template: "productform.html", Title: "Change a product", Script: "product-form.js", Personal: true},
	},
}
