// One product, and the way to change it for its seller.

import { call, complain, day, element, money, workstations } from "./catalog.js";

const page = document.getElementById("product");
const id = page.dataset.id;

function fact(name, ...value) {
  const div = element("div");
  const dd = element("dd");
  dd.append(...value);
  div.append(element("dt", "", name), dd);
  return div;
}

async function show() {
  let product;
  try {
    product = await call("GET", `/api/products/${id}`);
  } catch (problem) {
    if (problem.status === 404) document.getElementById("product-title").textContent = "No such product";
    complain(page, problem);
    return;
  }
  document.title = `${product.title} · Gatehouse`;
  document.getElementById("product-title").textContent = product.title;
  const facts = element("dl", "facts");
  facts.append(fact("Price", money(product.price)), fact("Workstation", workstations[product.daw] ?? "Unknown"));
  if (product.tempoBpm) facts.append(fact("Tempo", `${product.tempoBpm} BPM`));
  facts.append(fact("Offered since", day(product.createTime)), fact("Last changed", day(product.updateTime)));
  const parts = [facts];
  if (product.description) parts.push(element("p", "prose", product.description));
  page.replaceChildren(...parts);

  if (document.documentElement.dataset.session !== "in") return;
  try {
    const own = await call("GET", `/api/my/products?${new URLSearchParams({ filter: `name = "${product.name}"` })}`);
    document.getElementById("own").hidden = own.products.length === 0;
  } catch {
    // The product is shown; that it cannot be told whose it is hides a link.
  }
}

show();
