// What happens to products while a page shows them, told by the server as it
// happens. What was missed between two connections is told by the next one.

const address = "/api/products:watch";
const longest = 60000; // of the waits between attempts, in milliseconds

// follow calls changed(kind, product) for each change, in their order, and
// anew() when the page may have missed some: then it has to ask for everything
// again. Only who is signed in is told.
export function follow({ changed, anew }) {
  if (document.documentElement.dataset.session !== "in") return;
  let source, timer, token = "", failures = 0;

  function open() {
    clearTimeout(timer);
    if (source || document.hidden) return;
    // A browser that connects again by itself says in a header how far it has
    // come, which counts for more than the address.
    source = new EventSource(token ? `${address}?${new URLSearchParams({ resume_token: token })}` : address);
    source.addEventListener("message", hear);
    source.addEventListener("error", fail);
  }

  function close() {
    clearTimeout(timer);
    source?.close();
    source = undefined;
  }

  function hear(event) {
    const { kind, product } = JSON.parse(event.data);
    failures = 0;
    const resumed = token !== "";
    token = event.lastEventId;
    if (kind !== "KIND_READY") changed(kind, product);
    else if (!resumed) anew();
  }

  // The server's own word that the stream is over has data; a connection that
  // broke has none, and the browser is mending it already unless it was refused.
  function fail(event) {
    if (event.data) {
      if (JSON.parse(event.data).code === 11) restart(); // OUT_OF_RANGE: what it would have to tell is forgotten
    } else if (source.readyState === EventSource.CLOSED) {
      restart();
    }
  }

  // Why a connection was refused, an EventSource does not say.
  function restart() {
    close();
    token = "";
    const wait = Math.min(longest, 1000 * 2 ** failures++);
    timer = setTimeout(async () => {
      const me = await fetch("/api/auth/me", { cache: "no-store" }).catch(() => undefined);
      if (me?.status === 204 || me?.status === 401) return; // signed out: the next page begins anew
      open();
    }, wait * (0.5 + Math.random() / 2)); // not all pages at once
  }

  // A browser has few connections to spare (six without HTTP/2, for all of its
  // tabs), and nobody looks at a page that is hidden.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
}
