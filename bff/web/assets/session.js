// What a page shows belongs to whoever is signed in. So: cover a signed-in
// page when it is put away, since a browser may freeze it in memory and bring
// it back as it was after a logout, and uncover it only once the server says
// that the same person is still signed in. And cover it when the session ends
// while it is open, whoever ends it: in another tab, on another device, at the
// provider.

import { follow } from "./events.js";

const root = document.documentElement;
const signedIn = root.dataset.session === "in";
const personal = root.dataset.personal !== undefined;

// The subject of who is signed in now, or null.
async function currentSubject() {
  const response = await fetch("/api/auth/me", {
    headers: { Accept: "application/json" },
    cache: "no-store",
  });
  if (response.status === 204 || response.status === 401) return null;
  if (!response.ok) throw new Error(`status ${response.status}`);
  return String((await response.json()).sub ?? "");
}

async function recheck() {
  const shown = signedIn ? root.dataset.subject : null;
  try {
    if ((await currentSubject()) === shown) {
      delete root.dataset.covered;
      uncover();
      return;
    }
  } catch {
    // Who is signed in cannot be told now. A signed-out page hides nothing.
    if (!signedIn) return;
  }
  location.reload();
}

const reasons = {
  signed_out: "You have signed out in this browser.",
  elsewhere: "You have ended this session from another of your devices.",
  provider: "Your sign-in service has ended this session.",
  operator: "The people who run this application have ended this session.",
  expired: "Your session has run out.",
};

// What is under way to another page needs no word about this one.
let leaving = false;
addEventListener("click", (event) => {
  if (event.target.closest?.('a[href^="/api/auth/logout"]')) leaving = true;
});

// A page that is somebody's own says what happened, in place of its content,
// which stays as it was: whoever signs in again in another tab finds it back.
function cover(reason) {
  if (leaving || root.dataset.ended !== undefined) return;
  if (!personal) {
    // Later, for a tab that is on its way elsewhere already.
    setTimeout(recheck, 500);
    return;
  }
  const panel = document.createElement("main");
  panel.className = "ended wrap";
  const card = element("div", "card narrow");
  card.setAttribute("role", "alert");
  const heading = element("h1", "", "You have been signed out");
  heading.tabIndex = -1;
  const actions = element("p", "actions");
  const again = element("a", "button primary", "Sign in again");
  again.href = `/api/auth/login?returnTo=${encodeURIComponent(location.pathname + location.search)}`;
  const home = element("a", "button", "Go to the home page");
  home.href = "/";
  actions.append(again, home);
  card.append(heading, element("p", "", reasons[reason] ?? "Your session has ended."), actions);
  panel.append(card);
  document.body.append(panel);
  root.dataset.ended = "";
  heading.focus();
}

function uncover() {
  if (root.dataset.ended === undefined) return;
  document.querySelector("main.ended").remove();
  delete root.dataset.ended;
  join();
}

function element(name, className, text) {
  const e = document.createElement(name);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

function heard(name, data) {
  switch (name) {
    case "ended":
      cover(data.reason);
      break;
    case "replaced": // the same person, or another one
      recheck();
      break;
    case "arrived": // somebody's page was opened; this one may be theirs
      if (root.dataset.ended !== undefined) recheck();
      break;
    case "session":
    case "extended":
      dispatchEvent(new CustomEvent("gatehouse:session", { detail: data }));
  }
}

let following;
function join() {
  if (!signedIn) return;
  following?.stop();
  following = follow(heard);
  following.spread("arrived");
}

addEventListener("pagehide", () => {
  if (signedIn) root.dataset.covered = "";
  following?.stop(); // nor would a browser freeze a page that holds a lock
  following = undefined;
});

addEventListener("pageshow", (event) => {
  const [navigation] = performance.getEntriesByType("navigation");
  // back_forward: not frozen, but possibly an old copy from the HTTP cache.
  if (event.persisted || navigation?.type === "back_forward") {
    leaving = false;
    recheck();
  }
  if (!following) join();
});
