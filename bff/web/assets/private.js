// Calls the API and shows the response. Without this module, the form opens the
// same address as a page.

import { LoginRequiredError } from "./gatehouse-browser.js";
import { session } from "./session.js";
import { text } from "./texts.js";

const form = document.getElementById("call-form");
const buttons = form?.querySelectorAll("button") ?? [];
const result = document.getElementById("api-result");

// sentence explains a status to the user, "" if the body does.
function sentence(response, login) {
  const wait = Number(response.headers.get("Retry-After"));
  const later = wait > 0 ? text("call.wait", { seconds: wait }) : text("call.later");
  switch (response.status) {
    case 401: return login?.kind === "step-up" ? text("call.confirm") : text("call.ended");
    case 403: return text("call.forbidden");
    case 429: return `${text("call.too-many")} ${later}`;
    case 502: case 503: case 504: return `${text("call.unavailable")} ${later}`;
  }
  return response.ok ? "" : text("call.error");
}

// element makes an element. Responses are inserted as text, never as markup.
function element(name, className, content) {
  const e = document.createElement(name);
  if (className) e.className = className;
  if (content !== undefined) e.textContent = content;
  return e;
}

function show(state, ...children) {
  result.dataset.state = state;
  result.replaceChildren(...children);
}

async function readable(response) {
  const received = await response.text();
  try {
    return JSON.stringify(JSON.parse(received), null, 2);
  } catch {
    // An error page of a proxy, in HTML, is of no use here.
    return /json|text\/plain/.test(response.headers.get("Content-Type") ?? "") ? received : "";
  }
}

async function call(address) {
  const started = performance.now();
  let response, body, login;
  try {
    response = await session.fetch(address, {
      headers: { Accept: "application/json" },
      cache: "no-store",
      signal: AbortSignal.timeout(15000),
      repeats: 0, // the page shows each response
    }).catch((error) => {
      if (!(error instanceof LoginRequiredError)) throw error;
      login = error;
      return error.response;
    });
    body = await readable(response);
  } catch (error) {
    const why = error.name === "TimeoutError" ? text("call.timeout") : text("call.unreachable");
    show("problem", element("p", "status", text("call.no-response")), element("p", "", why));
    return;
  }

  const head = element("p", "status", `${response.status} ${response.ok ? text("call.ok") : text("call.failed")}`);
  head.append(" ", element("span", "took", `${Math.round(performance.now() - started)} ms`));
  const parts = [head];
  const says = sentence(response, login);
  if (says) parts.push(element("p", "", says));
  if (login) {
    const link = element("a", "button primary small", login.kind === "step-up" ? text("call.confirm-button") : text("action.sign-in-again"));
    link.href = login.loginURL;
    const actions = element("p", "actions");
    actions.append(link);
    parts.push(actions);
  } else if (body) {
    const pre = element("pre", "code");
    pre.append(element("code", "", body));
    parts.push(pre);
  }
  const id = response.headers.get("X-Request-Id");
  if (id && !response.ok) parts.push(element("p", "detail", text("call.request", { id })));
  show(response.ok ? "ok" : "problem", ...parts);
}

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  // aria-disabled and not disabled, which would lose the keyboard focus.
  if (result.getAttribute("aria-busy") === "true") return;
  for (const button of buttons) button.setAttribute("aria-disabled", "true");
  result.setAttribute("aria-busy", "true");
  try {
    await call(event.submitter?.getAttribute("formaction") ?? form.action);
  } finally {
    for (const button of buttons) button.removeAttribute("aria-disabled");
    result.removeAttribute("aria-busy");
  }
});
for (const button of buttons) button.setAttribute("data-ready", "");
