package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// oldestProduct is the last product of the list. It is one of the demo products, which no other
// test deletes.
const oldestProduct = `(({href, textContent}) => ({link: new URL(href).pathname, title: textContent.trim()}))([...document.querySelectorAll("#products a[href^='/products/']")].at(-1))`

// testProducts uses the marketplace as a buyer and as a seller.
func testProducts(t *testing.T, c *chromium, dev *system) {
	t.Run("browse signed out", func(t *testing.T) {
		t.Parallel()
		tb := c.newTab(t)
		tb.open(dev.base + "/products")
		tb.becomes("products are listed", `document.querySelectorAll("#products > li").length > 0`)
		product := js[struct{ Link, Title string }](tb, oldestProduct)
		tb.open(dev.base + product.Link)
		tb.becomes("the product is shown", fmt.Sprintf(`document.querySelector("#product-title").textContent.trim() === %q`, product.Title))
		tb.open(dev.base + "/my/products") // leads to the login
		tb.becomes("the provider asks who to be", `document.querySelector("button[name=user]")`)
	})
	t.Run("a seller offers, mends and withdraws", func(t *testing.T) {
		t.Parallel()
		tb := c.newTab(t)
		tb.signIn(dev, "seller")
		tb.open(dev.base + "/my/products/new")
		tb.becomes("the form is ready", `document.querySelector("#product-form[data-ready]")`)

		fill := func(control, value string) {
			js[bool](tb, fmt.Sprintf(`(document.getElementById(%q).value = %q, true)`, control, value))
		}
		// An empty price is not a price of zero.
		fill("title", "x")
		fill("daw", "DAW_REAPER")
		tb.click("#save")
		tb.becomes("the price is asked for", `document.querySelector("#amount[aria-invalid]")`)
		// The server's field errors are shown at the fields, all at once.
		refused := map[string]string{"title": "", "description": "bell \x01", "daw": "", "tempo": "7"}
		for control, value := range refused {
			fill(control, value)
		}
		fill("amount", "19.99")
		js[bool](tb, `(document.querySelector("#save").click(), true)`)
		for control := range refused {
			tb.becomes(control+" is refused, with a reason", fmt.Sprintf(`document.getElementById(%[1]q).getAttribute("aria-invalid") === "true" && !document.getElementById(%[1]q + "-error").hidden && document.getElementById(%[1]q + "-error").textContent.trim() !== ""`, control))
		}
		if js[bool](tb, `document.querySelector("#amount").hasAttribute("aria-invalid")`) {
			t.Error("a valid price is reported as invalid")
		}
		fill("description", "")
		fill("daw", "DAW_REAPER")
		fill("tempo", "")

		const title = "Night bus to Harbour Street"
		save := func() { js[bool](tb, `(document.querySelector("#save").click(), true)`) }
		fill("title", title)
		save() // not with the mouse: the page may still be scrolling to the error
		tb.becomes("the product's own page", fmt.Sprintf(`location.pathname.startsWith("/products/") && document.querySelector("#product-title").textContent.trim() === %q`, title))
		tb.becomes("its seller may change it", `!document.querySelector("#own").hidden`)
		tb.shows("19.99", "REAPER")

		id := strings.TrimPrefix(js[string](tb, `location.pathname`), "/products/")
		tb.open(dev.base + "/my/products/" + id)
		tb.becomes("the form is filled", fmt.Sprintf(`document.querySelector("#product-form[data-ready]") && document.querySelector("#title").value === %q`, title))
		fill("title", title+", remastered")
		save()
		tb.becomes("the new title", fmt.Sprintf(`location.pathname.startsWith("/products/") && document.querySelector("#product-title").textContent.trim() === %q`, title+", remastered"))

		tb.open(dev.base + "/my/products/" + id)
		tb.becomes("the form is filled again", `document.querySelector("#product-form[data-ready]")`)
		js[bool](tb, `(window.confirm = () => true, document.querySelector("#delete").click(), true)`)
		tb.at(dev.base + "/my/products")
		tb.open(dev.base + "/products/" + id)
		tb.becomes("it is gone", `document.querySelector("#product-title").textContent.trim() === "No such product"`)
	})
	t.Run("a buyer may not sell", func(t *testing.T) {
		t.Parallel()
		tb := c.newTab(t)
		tb.signIn(dev, "buyer")
		tb.open(dev.base + "/my/products/new")
		tb.becomes("the form is ready", `document.querySelector("#product-form[data-ready]")`)
		js[bool](tb, `(document.getElementById("title").value = "x", document.getElementById("amount").value = "1", document.getElementById("daw").value = "DAW_REAPER", true)`)
		tb.click("#save")
		tb.becomes("the refusal is told", `!document.querySelector("#form-notice").hidden && document.querySelector("#form-notice").innerText.trim() !== ""`)
	})
}
