// Keeps what a page shows in step with the session, which gatehouse-browser
// follows. When the session ends while a signed-in page is open (in another tab,
// on another device, at the provider), the page is covered.

import { createSession, loginURL } from "./gatehouse-browser.js";
import { text } from "./texts.js";

const root = document.documentElement;
const { subject } = root.dataset;
const personal = root.dataset.personal !== undefined;
const signedIn = root.dataset.session === "in";

// The user of the page is known from the server, unless it did not know it.
export const session = createSession({
  initialUser: signedIn ? { sub: subject } : root.dataset.session === "out" ? null : undefined,
});

const reasons = {
  signed_out: text("ended.signed-out"),
  elsewhere: text("ended.elsewhere"),
  provider: text("ended.provider"),
  operator: text("ended.operator"),
  expired: text("ended.expired"),
  evicted: text("ended.evicted"),
};

// A page that is left by its own logout link shows no message.
let leaving = false;
addEventListener("click", (event) => {
  if (event.target.closest?.('a[href^="/api/auth/logout"]')) leaving = true;
});
addEventListener("pageshow", (event) => {
  if (event.persisted) leaving = false;
});

session.subscribe(() => {
  const state = session.getSnapshot();
  switch (state.status) {
    case "signed-in":
      if (signedIn && state.user.sub === subject) uncover();
      else location.reload();
      break;
    case "signed-out":
      if (signedIn && personal) cover(state.reason);
      // Later, since this tab may be loading another page.
      else if (signedIn) setTimeout(() => { if (!leaving) location.reload(); }, 500);
      else if (root.dataset.session === "unknown") location.reload();
      break;
    case "error":
      // The page is back from the browser's memory, and its user is unknown.
      if (signedIn && !state.user) location.reload();
  }
});

// cover shows on a personal page what happened, in place of its content. The
// content stays in the document: after a new login in another tab it is shown
// again.
function cover(reason) {
  if (leaving || root.dataset.ended !== undefined) return;
  const panel = document.createElement("main");
  panel.className = "ended wrap";
  const card = element("div", "card narrow");
  card.setAttribute("role", "alert");
  const heading = element("h1", "", text("ended.title"));
  heading.tabIndex = -1;
  const actions = element("p", "actions");
  const again = element("a", "button primary", text("action.sign-in-again"));
  again.href = loginURL();
  const home = element("a", "button", text("action.home"));
  home.href = "/";
  actions.append(again, home);
  card.append(heading, element("p", "", reasons[reason] ?? text("ended.other")), actions);
  panel.append(card);
  document.body.append(panel);
  root.dataset.ended = "";
  heading.focus();
}

function uncover() {
  document.querySelector("main.ended")?.remove();
  delete root.dataset.ended;
}

function element(name, className, content) {
  const e = document.createElement(name);
  if (className) e.className = className;
  if (content !== undefined) e.textContent = content;
  return e;
}
