// The events of the session, for every tab of this browser. One tab reads the
// bff's event stream and forwards the events to the others. Browsers open six
// connections to an HTTP/1.1 server, so that a stream for each tab would soon
// leave none for other requests.

const lockName = "gatehouse-events";
const channelName = "gatehouse-session";
const names = ["session", "extended", "replaced", "ended", "goodbye"];

// follow calls tell with the name and data of each event. It returns an object
// with two methods: stop ends that, spread sends an event to the other tabs. In
// a browser without locks the events come from other tabs only.
export function follow(tell) {
  const channel = new BroadcastChannel(channelName);
  const stopped = new AbortController();
  channel.onmessage = ({ data }) => {
    if (data.name === "ended") stopped.abort(); // no tab needs the stream any more
    tell(data.name, data.data);
  };
  // The other tabs first: this one may be closing.
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
    spread: (name, data) => channel.postMessage({ name, data }),
  };
}

// listen reads the stream, and so holds the lock, until it is stopped or the
// session has ended.
async function listen(spread, stopped) {
  let pause = 2000;
  while (!stopped.aborted) {
    const last = await stream((name, data) => {
      pause = 2000;
      spread(name, data);
    }, stopped);
    // After "replaced" there is another session.
    if (last === "ended" || last === "stopped") return;
    if (last !== "replaced") {
      // With jitter, so that not all browsers connect again at the same time.
      await wait(pause * (0.5 + Math.random()), stopped);
      pause = Math.min(pause * 2, 60000);
      if (!stopped.aborted && (await signedOut())) {
        spread("ended", { reason: "unknown" });
        return;
      }
    }
  }
}

// stream reads one stream to its end and returns the name of the last event.
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
    // Not left to EventSource, which never stops and waits the same time.
    source.onerror = () => end(last === "goodbye" ? "goodbye" : "lost");
  });
}

function wait(milliseconds, stopped) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    stopped.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

// signedOut reports whether the server says so. After an error the stream is
// tried again.
async function signedOut() {
  try {
    return (await fetch("/api/auth/session", { cache: "no-store" })).status === 204;
  } catch {
    return false;
  }
}
