// Back after Logout must show nothing private. The server's no-store keeps a
// page out of the HTTP cache, but a browser may still freeze it in memory and
// bring it back as it was. So: cover a signed-in page when it is put away, and
// uncover it only once the server says that the same person is still signed in.

const root = document.documentElement;
const signedIn = root.dataset.session === "in";

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
      return;
    }
  } catch {
    // Who is signed in cannot be told now. A signed-out page hides nothing.
    if (!signedIn) return;
  }
  location.reload();
}

addEventListener("pagehide", () => {
  if (signedIn) root.dataset.covered = "";
});

addEventListener("pageshow", (event) => {
  const [navigation] = performance.getEntriesByType("navigation");
  // back_forward: not frozen, but possibly an old copy from the HTTP cache.
  if (event.persisted || navigation?.type === "back_forward") recheck();
});
