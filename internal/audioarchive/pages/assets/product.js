// The page of a product, with a link for its seller to change it.

import { call, complain, day, download, element, fact, fileFacts, money, player, workstations } from "./catalog.js";
import { follow } from "./live.js";

const page = document.getElementById("product");
const id = page.dataset.id;

const section = document.getElementById("file");
const actions = document.getElementById("file-actions");
const note = document.getElementById("file-note");
const signedIn = document.documentElement.dataset.session === "in";
let shown; // the product
let mine = false; // it is the user's own
let order; // the user's, for it

function fill(product) {
  shown = product;
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
  fillFile();
}

function button(label, act) {
  const b = element("button", "button primary", label);
  b.type = "button";
  b.addEventListener("click", act);
  return b;
}

function link(label, href) {
  const a = element("a", "button primary", label);
  a.href = href;
  return a;
}

// fillFile shows the file, and what the user can do with it.
function fillFile() {
  const file = shown.file;
  const has = mine || order;
  const parts = file ? [fileFacts(file)] : [element("p", "", mine ? "Upload the file: this product cannot be bought before." : "Its seller has not uploaded the file yet, so it cannot be bought.")];
  if (file && has && file.contentType.startsWith("audio/")) parts.push(section.querySelector("audio")?.src.endsWith(file.sha256) ? section.querySelector("audio") : player(shown.name, file));
  if (order) {
    const bought = element("p", "quiet", "You bought it on ");
    bought.append(day(order.createTime), ".");
    parts.push(bought);
  }
  const focused = actions.contains(document.activeElement);
  document.getElementById("file-facts").replaceChildren(...parts);
  if (!file) actions.replaceChildren(...(mine ? [link("Upload the file", `/my/products/${id}#upload`)] : []));
  else if (has) actions.replaceChildren(download(shown.name, "Download", true));
  else if (signedIn) actions.replaceChildren(button(Number(shown.price?.amountMinor ?? 0) ? `Buy for ${money(shown.price)}` : "Get it for free", buy));
  else actions.replaceChildren(link("Sign in to buy", section.dataset.login));
  if (focused) actions.querySelector("a, button")?.focus();
  section.hidden = false;
}

// buy makes an order for the product as it is shown.
async function buy(event) {
  const pressed = event.currentTarget;
  if (pressed.getAttribute("aria-disabled") === "true") return;
  pressed.setAttribute("aria-disabled", "true");
  note.replaceChildren();
  try {
    order = await call("POST", `/api/orders?${new URLSearchParams({ product_etag: shown.etag })}`, { product: shown.name });
    note.dataset.state = "ok";
    const orders = element("a", "", "your orders");
    orders.href = "/my/orders";
    const status = element("p", "status", "It is yours. It is also among ");
    status.append(orders, ".");
    note.replaceChildren(status);
    fillFile();
  } catch (problem) {
    if (problem.reason === "ETAG_MISMATCH") {
      problem.message = "Its seller has just changed the product. Look at it again before you buy it.";
      await show();
    }
    complain(note, problem);
  } finally {
    pressed.removeAttribute("aria-disabled");
  }
}

function none(problem) {
  section.hidden = true;
  document.getElementById("product-title").textContent = "No such product";
  document.getElementById("own").hidden = true;
  complain(page, problem);
}

// The latest version of the product counts, from a response or from the stream.
let turn = 0;

async function show() {
  const current = ++turn;
  try {
    const product = await call("GET", `/api/products/${id}`);
    if (current === turn) fill(product);
  } catch (problem) {
    if (current !== turn) return;
    if (problem.status === 404) none(problem);
    else complain(page, problem);
  }
}

async function own() {
  if (!signedIn) return;
  const product = `products/${id}`;
  try {
    const [products, orders] = await Promise.all([
      call("GET", `/api/my/products?${new URLSearchParams({ filter: `name = "${product}"` })}`),
      call("GET", `/api/my/orders?${new URLSearchParams({ product })}`),
    ]);
    mine = products.products.length > 0;
    order = orders.orders[0] ?? order;
    document.getElementById("own").hidden = !mine;
    if (shown && !section.hidden) fillFile();
  } catch {
    // The product is shown. A purchase that is repeated has no effect.
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
