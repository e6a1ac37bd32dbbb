// Changes of products while a page shows them, as a stream of the server. A new connection
// delivers the changes since the one before.

const address = "/api/products:watch";
const longest = 60000; // delay between attempts, in milliseconds

// follow calls changed(kind, product) for each change, in order, and anew() when the page may have
// missed some and has to load everything again. It needs a signed-in user.
export function follow({ changed, anew }) {
  if (document.documentElement.dataset.session !== "in") return;
  let source, timer, token = "", failures = 0;

  function open() {
    clearTimeout(timer);
    if (source || document.hidden) return;
    // A browser that reconnects by itself sends Last-Event-ID, which takes precedence over the
    // address.
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

  // The server's error event has data. A broken connection has none: the browser reconnects unless
  // the connection was refused.
  function fail(event) {
    if (event.data) {
      if (JSON.parse(event.data).code === 11) restart(); // OUT_OF_RANGE: the changes are no longer in the log
    } else if (source.readyState === EventSource.CLOSED) {
      restart();
    }
  }

  // An EventSource does not tell why a connection was refused.
  function restart() {
    close();
    token = "";
    const wait = Math.min(longest, 1000 * 2 ** failures++);
    timer = setTimeout(async () => {
      const me = await fetch("/api/auth/me", { cache: "no-store" }).catch(() => undefined);
      if (me?.status === 204 || me?.status === 401) return; // signed out
      open();
    }, wait * (0.5 + Math.random() / 2)); // not all pages at once
  }

  // A hidden page closes its connection: a browser has six for all tabs without HTTP/2.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
}
