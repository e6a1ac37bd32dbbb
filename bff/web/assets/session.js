// Keeps what a page shows in step with the session. A signed-in page is covered
// when the user leaves it: the browser may keep it in memory and show it again
// after a logout. It is uncovered when the server confirms that the same user is
// signed in. It is also covered when the session ends while it is open: in
// another tab, on another device, or at the provider.

import { follow } from "./events.js";

const root = document.documentElement;
const signedIn = root.dataset.session === "in";
const personal = root.dataset.personal !== undefined;

// currentSubject returns the subject of the signed-in user, null for none.
async function currentSubject() {
  const response = await fetch("/api/auth/me", {
    headers: { Accept: "application/json" },
    cache: "no-store",
  });
  if (response.status === 204 || response.status === 401) return null;
  if (!response.ok) throw new Error(`status ${response.status}`);
  return String((await response.json()).sub ?? "");
}

// recheck uncovers the page if its user is signed in, and reloads it otherwise.
async function recheck() {
  const shown = signedIn ? root.dataset.subject : null;
  try {
    if ((await currentSubject()) === shown) {
      delete root.dataset.covered;
      uncover();
      return;
    }
  } catch {
    // The user is unknown. A signed-out page shows nothing personal.
    if (!signedIn) return;
  }
  location.reload();
}

const reasons = {
  signed_out: "You have signed out in this browser.",
  elsewhere: "You have ended this session from another of your devices.",
  provider: "Your sign-in service has ended this session.",
  operator: "An administrator of this application has ended this session.",
  expired: "Your session has expired.",
  evicted: "You have signed in on too many devices. This session was unused for longest, and has ended.",
};

// A page that is left by its own logout link shows no message.
let leaving = false;
addEventListener("click", (event) => {
  if (event.target.closest?.('a[href^="/api/auth/logout"]')) leaving = true;
});

// cover shows on a personal page what happened, in place of its content. The
// content stays in the document: after a new login in another tab it is shown
// again.
function cover(reason) {
  if (leaving || root.dataset.ended !== undefined) return;
  if (!personal) {
    // Later, since this tab may be loading another page.
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
    case "replaced": // by a session of the same user or of another
      recheck();
      break;
    case "arrived": // a signed-in page was opened in another tab
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
  following?.stop(); // a browser keeps no page in memory that holds a lock
  following = undefined;
});

addEventListener("pageshow", (event) => {
  const [navigation] = performance.getEntriesByType("navigation");
  // back_forward: possibly an old copy from the HTTP cache.
  if (event.persisted || navigation?.type === "back_forward") {
    leaving = false;
    recheck();
  }
  if (!following) join();
});
