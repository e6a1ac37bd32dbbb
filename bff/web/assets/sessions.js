// Lists the user's sessions and ends them.

import { session as own } from "./session.js";

const list = document.getElementById("sessions");
const note = document.getElementById("sessions-note");
const others = document.getElementById("end-others");

// The pages are in English, so only a variant of English is used of the
// browser's languages.
const english = navigator.languages.find((l) => l.startsWith("en")) ?? "en";
const exact = new Intl.DateTimeFormat(english, { dateStyle: "long", timeStyle: "short" });
const relative = new Intl.RelativeTimeFormat(english, { numeric: "auto" });

function ago(date) {
  const minutes = Math.round((date - Date.now()) / 60000);
  if (Math.abs(minutes) < 1) return "just now";
  const [count, unit] =
    Math.abs(minutes) < 90 ? [minutes, "minute"]
    : Math.abs(minutes) < 2880 ? [Math.round(minutes / 60), "hour"]
    : [Math.round(minutes / 1440), "day"];
  return relative.format(count, unit);
}

// element makes an element. Names of devices come from browsers, and are
// inserted as text.
function element(name, className, ...children) {
  const e = document.createElement(name);
  if (className) e.className = className;
  e.append(...children);
  return e;
}

function time(text) {
  const date = new Date(text);
  const e = element("time", "", exact.format(date));
  e.dateTime = text;
  return [e, " ", element("span", "away", ago(date))];
}

function fact(term, ...children) {
  return element("div", "", element("dt", "", term), element("dd", "", ...children));
}

function say(state, text) {
  note.dataset.state = state;
  note.replaceChildren();
  if (!text) return;
  note.append(element("p", state ? "status" : "quiet", text));
}

async function call(method, path) {
  const response = await fetch(`/api/auth/sessions${path}`, {
    method, headers: { Accept: "application/json" }, cache: "no-store", signal: AbortSignal.timeout(15000),
  });
  if (response.status === 401) {
    await own.check(); // which covers the page
    return null;
  }
  if (!response.ok && response.status !== 404) throw new Error(`status ${response.status}`);
  return response;
}

// act makes a request, shows the list and reports the result. It moves the focus
// to the report, since the button may be gone.
async function act(button, done, method, path) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  try {
    if (!(await call(method, path))) return;
    await show();
    say("ok", done);
  } catch {
    say("problem", "That did not work completely. Try again in a moment.");
  } finally {
    button.removeAttribute("aria-disabled");
    note.focus();
  }
}

function card(session) {
  const heading = element("h2", "", session.device);
  if (session.current) heading.append(" ", element("span", "tag", "this browser"));
  const facts = element("dl", "facts",
    fact("Address", session.address || "unknown"),
    fact("Signed in", ...time(session.created_at)),
    fact("Last seen", ...(session.current ? ["now"] : time(session.last_seen_at))),
  );
  if (session.current) {
    facts.append(fact("Ends if unused", ...time(session.idle_expires_at)), fact("Ends at the latest", ...time(session.expires_at)));
  }
  let end;
  if (session.current) {
    end = element("a", "button small", "Sign out");
    end.href = "/api/auth/logout";
  } else {
    end = element("button", "button danger small", "End this session");
    end.type = "button";
    end.setAttribute("aria-label", `End this session: ${session.device}, signed in ${ago(new Date(session.created_at))}`);
    end.addEventListener("click", () => act(end, `The session of ${session.device} has ended.`, "DELETE", `/${session.handle}`));
  }
  const item = element("li", "card", heading, facts, element("p", "actions", end));
  item.dataset.handle = session.handle;
  return item;
}

async function show() {
  const response = await call("GET", "");
  if (!response) return;
  const { sessions } = await response.json();
  sessions.sort((a, b) => b.current - a.current); // the current one first, the others newest first
  list.replaceChildren(...sessions.map(card));
  others.hidden = sessions.length < 2;
  say("", sessions.length < 2 ? "You are not signed in anywhere else." : "");
}

async function start() {
  try {
    await show();
  } catch {
    say("problem", "Your sessions cannot be listed at the moment. You are still signed in. Try again in a moment.");
  }
  list.setAttribute("data-ready", "");
}

others?.addEventListener("click", () => act(others, "All other sessions have ended.", "DELETE", ""));
if (list) start();
