// Lists the user's sessions and ends them.

import { session as own } from "./session.js";
import { language, text } from "./texts.js";

const list = document.getElementById("sessions");
const note = document.getElementById("sessions-note");
const others = document.getElementById("end-others");

const exact = new Intl.DateTimeFormat(language, { dateStyle: "long", timeStyle: "short" });
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto" });

function ago(date) {
  const minutes = Math.round((date - Date.now()) / 60000);
  if (Math.abs(minutes) < 1) return text("sessions.just-now");
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

function time(value) {
  const date = new Date(value);
  const e = element("time", "", exact.format(date));
  e.dateTime = value;
  return [e, " ", element("span", "away", ago(date))];
}

function fact(term, ...children) {
  return element("div", "", element("dt", "", term), element("dd", "", ...children));
}

function say(state, message) {
  note.dataset.state = state;
  note.replaceChildren();
  if (!message) return;
  note.append(element("p", state ? "status" : "quiet", message));
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
    say("problem", text("sessions.failed"));
  } finally {
    button.removeAttribute("aria-disabled");
    note.focus();
  }
}

function card(session) {
  const heading = element("h2", "", session.device);
  if (session.current) heading.append(" ", element("span", "tag", text("sessions.current")));
  const facts = element("dl", "facts",
    fact(text("sessions.address"), session.address || text("sessions.no-address")),
    fact(text("sessions.signed-in"), ...time(session.created_at)),
    fact(text("sessions.seen"), ...(session.current ? [text("sessions.now")] : time(session.last_seen_at))),
  );
  if (session.current) {
    facts.append(
      fact(text("sessions.ends-unused"), ...time(session.idle_expires_at)),
      fact(text("sessions.ends-latest"), ...time(session.expires_at)),
    );
  }
  let end;
  if (session.current) {
    end = element("a", "button small", text("action.sign-out"));
    end.href = "/api/auth/logout";
  } else {
    end = element("button", "button danger small", text("sessions.end"));
    end.type = "button";
    end.setAttribute("aria-label", text("sessions.end-label", { device: session.device, when: ago(new Date(session.created_at)) }));
    end.addEventListener("click", () => act(end, text("sessions.end-done", { device: session.device }), "DELETE", `/${session.handle}`));
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
  say("", sessions.length < 2 ? text("sessions.alone") : "");
}

async function start() {
  try {
    await show();
  } catch {
    say("problem", text("sessions.unavailable"));
  }
  list.setAttribute("data-ready", "");
}

others?.addEventListener("click", () => act(others, text("sessions.end-others-done"), "DELETE", ""));
if (list) start();
