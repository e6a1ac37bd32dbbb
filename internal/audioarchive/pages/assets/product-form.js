// The form to offer or change a product. The server validates; its errors are shown at the fields.

import { call, complain, digits } from "./catalog.js";
import { offerUpload } from "./upload.js";

const form = document.getElementById("product-form");
const notice = document.getElementById("form-notice");
const save = document.getElementById("save");
const remove = document.getElementById("delete");
const id = form.dataset.id;
const upload = id && offerUpload((product) => { etag = product.etag; });
let etag = "";

// The form control of each field of the API.
const controls = {
  "product.title": "title", "product.description": "description", "product.daw": "daw", "product.tempo_bpm": "tempo",
  "product.price": "amount", "product.price.amount_minor": "amount", "product.price.currency_code": "currency",
};

// amount parses a price exactly; NaN means that it is invalid.
function amount(text, currency) {
  const places = digits(currency);
  const match = /^(\d{1,9})(?:[.,](\d*))?$/.exec(text.trim().replace(/\s/g, ""));
  const fraction = match?.[2] ?? "";
  if (!match || fraction.length > places) return NaN;
  return Number(match[1] + fraction.padEnd(places, "0"));
}

function written(price) {
  const places = digits(price.currencyCode);
  return (Number(price.amountMinor) / 10 ** places).toFixed(places);
}

// The highest price in minor units, as in product.proto.
const dearest = 100_000_000;

function refuse(control, text) {
  const place = document.getElementById(`${control}-error`);
  place.textContent = place.textContent ? `${place.textContent} ${text}` : text;
  place.hidden = false;
  form.elements[control].setAttribute("aria-invalid", "true");
}

function clear() {
  notice.hidden = true;
  for (const control of form.elements) {
    control.removeAttribute("aria-invalid");
    const place = document.getElementById(`${control.name}-error`);
    if (place) {
      place.hidden = true;
      place.textContent = "";
    }
  }
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1).replace(/\.?$/, ".");

function show(problem) {
  const elsewhere = [];
  for (const { field, description } of problem.fields ?? []) {
    if (controls[field]) refuse(controls[field], sentence(description));
    else elsewhere.push(`${field}: ${description}.`);
  }
  const first = form.querySelector("[aria-invalid]");
  if (first) first.focus();
  if (problem.reason === "ETAG_MISMATCH") problem.message = "This product was changed after you opened it, perhaps in another tab. Reload the page to see it as it is now; what you have written here is lost then.";
  if (first && elsewhere.length === 0) problem = { message: "Not saved yet: look at the fields that are marked." };
  else if (elsewhere.length) problem = { message: elsewhere.join(" ") };
  complain(notice, problem);
}

function product() {
  const value = (name) => form.elements[name].value;
  const places = digits(value("currency"));
  const price = amount(value("amount"), value("currency"));
  if (Number.isNaN(price)) {
    refuse("amount", places ? "Write an amount like 19.99; 0 is free." : "Write an amount like 1999; 0 is free. This currency has no smaller unit.");
    form.elements.amount.focus();
    return null;
  }
  if (price > dearest) {
    refuse("amount", `At most ${(dearest / 10 ** places).toLocaleString("en")} ${value("currency")}.`);
    form.elements.amount.focus();
    return null;
  }
  if (form.elements.tempo.validity.badInput || !/^\d*$/.test(value("tempo"))) {
    refuse("tempo", "Write a whole number, or nothing.");
    form.elements.tempo.focus();
    return null;
  }
  return {
    title: value("title").trim(),
    description: value("description").trim().replace(/\r\n/g, "\n"),
    price: { currencyCode: value("currency"), amountMinor: String(price) },
    daw: value("daw") || "DAW_UNSPECIFIED",
    tempoBpm: Number.parseInt(value("tempo") || "0", 10),
  };
}

// A request that is repeated because no response arrived has the same request id.
let sent = { body: "", id: "" };
function requestID(body) {
  if (sent.body !== body) sent = { body, id: crypto.randomUUID() };
  return sent.id;
}

async function busy(button, work) {
  // Not disabled, which would remove the keyboard focus.
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  try {
    await work();
  } catch (problem) {
    show(problem);
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  clear();
  const p = product();
  if (!p) return;
  busy(save, async () => {
    const saved = id
      ? await call("PATCH", `/api/products/${id}`, { ...p, etag })
      : await call("POST", `/api/products?request_id=${requestID(JSON.stringify(p))}`, p);
    location.assign(`/${saved.name}`);
  });
});

remove?.addEventListener("click", () => {
  if (!confirm("Delete this product? It cannot be restored.")) return;
  clear();
  busy(remove, async () => {
    await call("DELETE", `/api/products/${id}?${new URLSearchParams({ etag })}`);
    location.assign("/my/products");
  });
});

async function fill() {
  if (id) {
    const p = await call("GET", `/api/products/${id}`);
    etag = p.etag;
    upload(p);
    const values = { title: p.title, description: p.description, amount: written(p.price), currency: p.price.currencyCode, daw: p.daw, tempo: p.tempoBpm || "" };
    for (const [name, value] of Object.entries(values)) form.elements[name].value = value;
  }
  save.removeAttribute("aria-disabled");
  form.setAttribute("data-ready", "");
}

fill().catch((problem) => {
  complain(notice, problem);
  form.querySelectorAll("input, select, textarea").forEach((control) => { control.readOnly = true; });
});
