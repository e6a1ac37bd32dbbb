// Calls the API and shows the response. Without this module, the form opens the
// same address as a page.

import { LoginRequiredError } from "./gatehouse-browser.js";
import { session } from "./session.js";

const form = document.getElementById("call-form");
const buttons = form?.querySelectorAll("button") ?? [];
const result = document.getElementById("api-result");

const names = {
  200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
  429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway",
  503: "Service Unavailable", 504: "Gateway Timeout",
};

// sentence explains a status to the user, "" if the body does.
function sentence(response, login) {
  const wait = Number(response.headers.get("Retry-After"));
  const later = wait > 0 ? `Try again in ${wait} seconds.` : "Try again in a moment.";
  switch (response.status) {
    case 401: return login?.kind === "step-up"
      ? "This route needs a recent sign-in. Confirm that it is you. You will return here."
      : "Your session has ended. Sign in again to continue.";
    case 403: return "You are signed in, but your account may not call this route.";
    case 429: return `Too many requests. ${later}`;
    case 502: case 503: case 504: return `The API is not available. You are still signed in. ${later}`;
  }
  return response.ok ? "" : "The API returned an error.";
}

// element makes an element. Responses are inserted as text, never as markup.
function element(name, className, text) {
  const e = document.createElement(name);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

function show(state, ...children) {
  result.dataset.state = state;
  result.replaceChildren(...children);
}

async function readable(response) {
  const text = await response.text();
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // An error page of a proxy, in HTML, is of no use here.
    return /json|text\/plain/.test(response.headers.get("Content-Type") ?? "") ? text : "";
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
    const why = error.name === "TimeoutError"
      ? "The server did not respond in time. Try again in a moment."
      : "The server could not be reached. Check your connection and try again.";
    show("problem", element("p", "status", "No response"), element("p", "", why));
    return;
  }

  const head = element("p", "status", `${response.status} ${names[response.status] ?? response.statusText}`.trim());
  head.append(" ", element("span", "took", `${Math.round(performance.now() - started)} ms`));
  const parts = [head];
  const says = sentence(response, login);
  if (says) parts.push(element("p", "", says));
  if (login) {
    const link = element("a", "button primary small", login.kind === "step-up" ? "Confirm that it is you" : "Sign in again");
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
  if (id && !response.ok) parts.push(element("p", "detail", `Request ${id}`));
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
