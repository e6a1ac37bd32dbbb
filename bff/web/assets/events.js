// What becomes of the session, for every tab of this browser: one of them
// holds the bff's event stream and tells the others. A browser has six
// connections to a server of HTTP/1.1, so that a stream for each tab would
// soon leave none for anything else.

const lockName = "gatehouse-events";
const channelName = "gatehouse-session";
const names = ["session", "extended", "replaced", "ended", "goodbye"];

// follow has each event told, as a name and its data, and returns what stops
// that. A browser without locks hears from other tabs only.
export function follow(tell) {
  const channel = new BroadcastChannel(channelName);
  const stopped = new AbortController();
  channel.onmessage = ({ data }) => {
    if (data.name === "ended") stopped.abort(); // there is nothing to hear of for whoever holds the stream next
    tell(data.name, data.data);
  };
  // The others hear it even if this tab is about to go.
  const spread = (name, data) => {
    channel.postMessage({ name, data });
    tell(name, data);
  };
  navigator.locks?.request(lockName, { signal: stopped.signal }, () => listen(spread, stopped.signal))
    .catch(() => {}); // stopped while another tab had the lock
  return {
    stop() {
      stopped.abort();
      channel.close();
    },
    // Tells the other tabs, and not this one.
    spread: (name, data) => channel.postMessage({ name, data }),
  };
}

// listen holds the stream, and with it the lock, until it is stopped or there
// is no session to hear of.
async function listen(spread, stopped) {
  let pause = 2000;
  while (!stopped.aborted) {
    const last = await stream((name, data) => {
      pause = 2000;
      spread(name, data);
    }, stopped);
    // After "replaced" there is another session to hear of, at once.
    if (last === "ended" || last === "stopped") return;
    if (last !== "replaced") {
      // Somewhat apart, or all browsers would come back at the same moment.
      await wait(pause * (0.5 + Math.random()), stopped);
      pause = Math.min(pause * 2, 60000);
      if (!stopped.aborted && (await signedOut())) {
        spread("ended", { reason: "unknown" });
        return;
      }
    }
  }
}

// stream hears one stream to its end, and returns the last event's name.
function stream(tell, stopped) {
  return new Promise((resolve) => {
    let last = "";
    const source = new EventSource("/api/auth/events");
    const end = (how) => {
      source.close();
      stopped.removeEventListener("abort", stop);
      resolve(how);
    };
    const stop = () => end("stopped");
    stopped.addEventListener("abort", stop);
    for (const name of names) {
      source.addEventListener(name, (event) => {
        last = name;
        tell(name, JSON.parse(event.data));
        if (name === "ended" || name === "replaced") end(name);
      });
    }
    // Ours is the better patience: it begins small and knows when to stop.
    source.onerror = () => end(last === "goodbye" ? "goodbye" : "lost");
  });
}

function wait(milliseconds, stopped) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    stopped.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

// Not "cannot be told": then the stream is tried again.
async function signedOut() {
  try {
    return (await fetch("/api/auth/session", { cache: "no-store" })).status === 204;
  } catch {
    return false;
  }
}
