// The list of the user's orders, with their downloads.

import { call, complain, day, download, element, money, player, size } from "./catalog.js";

const list = document.getElementById("orders");
const more = document.getElementById("more");
const note = document.getElementById("orders-note");
const pageSize = 24;
let next = "";

function item(order) {
  const title = element("h2");
  if (order.productDeleted) {
    title.textContent = order.productTitle;
  } else {
    const link = element("a", "", order.productTitle);
    link.href = `/${order.product}`;
    title.append(link);
  }
  const foot = element("p", "price", money(order.price));
  const when = element("span", "quiet", "Bought on ");
  when.append(day(order.createTime));
  foot.append(when);
  const li = element("li", "card");
  li.append(title);
  if (order.productDeleted) li.append(element("p", "quiet", "No longer for sale. You keep it."));
  if (order.file) {
    li.append(element("p", "", `${order.file.fileName} · ${size(order.file.sizeBytes)}`));
    if (order.file.contentType.startsWith("audio/")) li.append(player(order.product, order.file));
    const link = download(order.product, "Download");
    link.setAttribute("aria-label", `Download ${order.file.fileName}`);
    const actions = element("p", "actions");
    actions.append(link);
    li.append(actions);
  }
  li.append(foot);
  return li;
}

async function load() {
  list.setAttribute("aria-busy", "true");
  try {
    const query = new URLSearchParams({ page_size: pageSize });
    if (next) query.set("page_token", next);
    const answer = await call("GET", `/api/my/orders?${query}`);
    const items = answer.orders.map(item);
    list.append(...items);
    if (next) items[0]?.querySelector("a")?.focus();
    next = answer.nextPageToken;
    more.hidden = !next;
    const shown = list.children.length;
    delete note.dataset.state;
    note.replaceChildren(element("p", "quiet", shown === 0 ? "You have not bought anything yet. " : `${shown} ${shown === 1 ? "order" : "orders"}${next ? " so far" : ""}`));
    if (shown === 0) {
      const products = element("a", "", "See what is on offer");
      products.href = "/products";
      note.firstChild.append(products, ".");
    }
  } catch (problem) {
    complain(note, problem);
  } finally {
    list.removeAttribute("aria-busy");
  }
}

more.addEventListener("click", load);
load();
