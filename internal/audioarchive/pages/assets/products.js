// The list of products: of all sellers, or the user's own.

import { call, complain, day, element, idOf, money, workstations } from "./catalog.js";
import { follow } from "./live.js";

const list = document.getElementById("products");
const more = document.getElementById("more");
const note = document.getElementById("products-note");
const search = document.getElementById("search");
const mine = list.dataset.api === "/api/my/products";
const patience = 10; // empty pages in a row before the user has to press Show more
const pageSize = 24;
let next = "";
let asked = 0;

// The address has the search, so that it can be bookmarked and shared.
const wanted = new URLSearchParams(location.search);
for (const field of search?.elements ?? []) {
  if (field.name && wanted.has(field.name)) field.value = wanted.get(field.name);
}

function query() {
  const form = new FormData(search ?? undefined);
  const terms = [];
  const words = String(form.get("q") ?? "").match(/[\p{L}\p{N}\p{M}]+/gu);
  if (words) terms.push(`title:"${words.join(" ")}"`);
  if (form.get("daw")) terms.push(`daw = ${form.get("daw")}`);
  const q = new URLSearchParams({ page_size: pageSize });
  if (terms.length) q.set("filter", terms.join(" AND "));
  if (form.get("order")) q.set("order_by", form.get("order"));
  if (next) q.set("page_token", next);
  return q;
}

function item(product) {
  const link = element("a", "", product.title);
  link.href = mine ? `/my/products/${idOf(product)}` : `/products/${idOf(product)}`;
  const title = element("h2");
  title.append(link);
  const facts = element("p", "", [workstations[product.daw], product.tempoBpm ? `${product.tempoBpm} BPM` : ""].filter(Boolean).join(" · "));
  const foot = element("p", "price", money(product.price));
  const when = element("span", "quiet");
  when.append(mine ? "Changed " : "Since ", day(mine ? product.updateTime : product.createTime));
  foot.append(when);
  const li = element("li", "card link");
  li.dataset.name = product.name;
  li.append(title, facts, foot);
  return li;
}

async function load(fresh) {
  let turns = 0;
  const turn = ++asked; // only the response to the latest request counts
  if (fresh) next = "";
  list.setAttribute("aria-busy", "true");
  try {
    const items = [];
    do { // a page may be empty or short although the list continues
      const answer = await call("GET", `${list.dataset.api}?${query()}`);
      if (turn !== asked) return;
      items.push(...answer.products.map(item));
      next = answer.nextPageToken;
    } while (next && items.length === 0 && ++turns < patience);
    const first = items[0]?.querySelector("a");
    if (fresh) keepingFocus(() => list.replaceChildren(...items));
    else list.append(...items);
    more.hidden = !next;
    if (!fresh && first) first.focus();
    count();
  } catch (problem) {
    if (turn === asked) complain(note, problem);
  } finally {
    if (turn === asked) list.removeAttribute("aria-busy");
  }
}

function count() {
  const shown = list.children.length;
  delete note.dataset.state;
  note.replaceChildren(element("p", "quiet", shown === 0 ? (next ? "No match so far. There are more products to search." : list.dataset.none) : `${shown} ${shown === 1 ? "product" : "products"}${next ? " so far" : ""}`));
  note.hidden = false;
}

// Keeps the keyboard focus on a product that is rendered again.
function keepingFocus(draw) {
  const name = document.activeElement?.closest("#products > li")?.dataset.name;
  draw();
  if (name) shown(name)?.querySelector("a").focus();
}

const shown = (name) => [...list.children].find((li) => li.dataset.name === name);

// If only the first page is shown, it is loaded again at most once a second. With more pages the
// list stays as it is.
let soon;
function again() {
  soon ??= setTimeout(() => {
    soon = undefined;
    if (list.children.length <= pageSize) load(true);
  }, 1000);
}

search?.addEventListener("submit", (event) => {
  event.preventDefault();
  const kept = new URLSearchParams();
  for (const [name, value] of new FormData(search)) if (value) kept.set(name, value);
  history.replaceState(null, "", kept.size ? `?${kept}` : location.pathname);
  load(true);
});
search?.addEventListener("change", (event) => {
  if (event.target.tagName === "SELECT") search.requestSubmit();
});
more.addEventListener("click", () => load(false));
load(true);
follow({
  anew: again,
  changed(kind, product) {
    const there = shown(product.name);
    if (list.hasAttribute("aria-busy")) again(); // the response may be older than this change
    if (kind === "KIND_CREATED") {
      again(); // it may match the search
    } else if (there && kind === "KIND_DELETED") {
      there.remove();
      count();
    } else if (there) {
      keepingFocus(() => there.replaceWith(item(product)));
    }
  },
});
