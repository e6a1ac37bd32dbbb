// The page of a product, with a link for its seller to change it.

import { call, complain, day, element, money, workstations } from "./catalog.js";
import { follow } from "./live.js";

const page = document.getElementById("product");
const id = page.dataset.id;

function fact(name, ...value) {
  const div = element("div");
  const dd = element("dd");
  dd.append(...value);
  div.append(element("dt", "", name), dd);
  return div;
}

function fill(product) {
  document.title = `${product.title} · Gatehouse`;
  document.getElementById("product-title").textContent = product.title;
  const facts = element("dl", "facts");
  facts.append(fact("Price", money(product.price)), fact("Workstation", workstations[product.daw] ?? "Unknown"));
  if (product.tempoBpm) facts.append(fact("Tempo", `${product.tempoBpm} BPM`));
  facts.append(fact("Offered since", day(product.createTime)), fact("Last changed", day(product.updateTime)));
  const parts = [facts];
  if (product.description) parts.push(element("p", "prose", product.description));
  delete page.dataset.state;
  page.replaceChildren(...parts);
}

function none(problem) {
  document.getElementById("product-title").textContent = "No such product";
  document.getElementById("own").hidden = true;
  complain(page, problem);
}

// The latest version of the product counts, from a response or from the stream.
let turn = 0;

async function show() {
  const mine = ++turn;
  try {
    const product = await call("GET", `/api/products/${id}`);
    if (mine === turn) fill(product);
  } catch (problem) {
    if (mine !== turn) return;
    if (problem.status === 404) none(problem);
    else complain(page, problem);
  }
}

async function own() {
  if (document.documentElement.dataset.session !== "in") return;
  try {
    const answer = await call("GET", `/api/my/products?${new URLSearchParams({ filter: `name = "products/${id}"` })}`);
    document.getElementById("own").hidden = answer.products.length === 0;
  } catch {
    // The product is shown; only the link stays hidden.
  }
}

show();
own();
follow({
  anew: show,
  changed(kind, product) {
    if (product.name !== `products/${id}`) return;
    turn++;
    if (kind === "KIND_DELETED") none({ message: "This product has just been deleted." });
    else fill(product);
  },
});
