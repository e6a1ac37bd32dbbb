// "Call API" without leaving the page. Where this module does not run, the
// form opens the same address as a page.

const form = document.getElementById("call-form");
const buttons = form?.querySelectorAll("button") ?? [];
const result = document.getElementById("api-result");

const names = {
  200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
  429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway",
  503: "Service Unavailable", 504: "Gateway Timeout",
};

// What a status means to the person, where the answer itself is not the point.
function sentence(response) {
  const wait = Number(response.headers.get("Retry-After"));
  const later = wait > 0 ? `Try again in ${wait} seconds.` : "Try again in a moment.";
  switch (response.status) {
    case 401: return wantsMore(response)
      ? "This route wants to be sure that it is you. Confirm it, and you come back here."
      : "Your session has ended. Sign in again to go on.";
    case 403: return "You are signed in, but your account may not call this route.";
    case 429: return `That was too often. ${later}`;
    case 502: case 503: case 504: return `The API cannot answer right now. You are still signed in. ${later}`;
  }
  return response.ok ? "" : "The API refused this call or failed to answer it.";
}

// Whether a stronger or fresher sign-in would do (step-up, RFC 9470).
function wantsMore(response) {
  return (response.headers.get("WWW-Authenticate") ?? "").includes('error="insufficient_user_authentication"');
}

// Everything goes in as text: an answer is data, whatever it looks like.
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
    // A proxy's error page in HTML tells a person nothing.
    return /json|text\/plain/.test(response.headers.get("Content-Type") ?? "") ? text : "";
  }
}

async function call(address) {
  const started = performance.now();
  let response, body;
  try {
    response = await fetch(address, {
      headers: { Accept: "application/json" },
      cache: "no-store",
      signal: AbortSignal.timeout(15000),
    });
    body = await readable(response);
  } catch (error) {
    const why = error.name === "TimeoutError"
      ? "The server took too long to answer. Try again in a moment."
      : "The server could not be reached. Check your connection and try again.";
    show("problem", element("p", "status", "No answer"), element("p", "", why));
    return;
  }

  const head = element("p", "status", `${response.status} ${names[response.status] ?? response.statusText}`.trim());
  head.append(" ", element("span", "took", `${Math.round(performance.now() - started)} ms`));
  const parts = [head];
  const says = sentence(response);
  if (says) parts.push(element("p", "", says));
  if (response.status === 401) {
    const link = element("a", "button primary small", wantsMore(response) ? "Confirm that it is you" : "Sign in again");
    // The bff says which login would help, and that it is to lead back here.
    link.href = response.headers.get("Gatehouse-Login") ?? result.dataset.login;
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
  // Not disabled: that would take the focus from a person at the keyboard.
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
