// The list of products: of all sellers, or one's own.

import { call, complain, day, element, idOf, money, workstations } from "./catalog.js";

const list = document.getElementById("products");
const more = document.getElementById("more");
const note = document.getElementById("products-note");
const search = document.getElementById("search");
const mine = list.dataset.api === "/api/my/products";
const patience = 10; // empty pages in a row, before the person is asked
let next = "";
let asked = 0;

// The address holds what was searched for, so that it can be kept and shared.
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
  const q = new URLSearchParams({ page_size: "24" });
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
  li.append(title, facts, foot);
  return li;
}

async function load(fresh) {
  let turns = 0;
  const turn = ++asked; // of two answers, the later question's counts
  if (fresh) next = "";
  list.setAttribute("aria-busy", "true");
  try {
    const items = [];
    do { // a page may be empty, or short, with more of the list behind it
      const answer = await call("GET", `${list.dataset.api}?${query()}`);
      if (turn !== asked) return;
      items.push(...answer.products.map(item));
      next = answer.nextPageToken;
    } while (next && items.length === 0 && ++turns < patience);
    const first = items[0]?.querySelector("a");
    if (fresh) list.replaceChildren(...items);
    else list.append(...items);
    more.hidden = !next;
    if (!fresh && first) first.focus();
    delete note.dataset.state;
    const count = list.children.length;
    note.replaceChildren(element("p", "quiet", count === 0 ? (next ? "Nothing so far. There is more to look through." : list.dataset.none) : `${count} ${count === 1 ? "product" : "products"}${next ? " so far" : ""}`));
    note.hidden = false;
  } catch (problem) {
    if (turn === asked) complain(note, problem);
  } finally {
    if (turn === asked) list.removeAttribute("aria-busy");
  }
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
