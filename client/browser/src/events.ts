import { backoff, pause } from "./time.js";

// The names are shared with the embedded pages, and with other releases during a rollout.
const lockName = "gatehouse-events";
const channelName = "gatehouse-session";
const streamed = ["session", "extended", "replaced", "ended", "goodbye"];

/** The end of a session, as `/api/auth/session` tells it. */
export interface Times {
  readonly idle_seconds: number;
  readonly absolute_seconds: number;
}

/** An event of the server, or of another tab (`subject`). */
export interface Message {
  readonly name: string;
  readonly data?: unknown;
}

/** What connects the tabs of a browser. */
export interface Tabs {
  /** Sends a message to the other tabs. */
  post(message: Message): void;
  /**
   * Follows the session's events until it ends. If a session is followed already, it does nothing,
   * unless this is another one.
   */
  follow(another: boolean): void;
  /** Ends everything. A page that holds a lock or a channel is not kept in memory by browsers. */
  close(): void;
}

/**
 * Connects this tab with the others. One tab of the browser has the lock, reads the server's event
 * stream, and forwards the events: browsers open six connections to an HTTP/1.1 server, so that a
 * stream for each tab would soon leave none for other requests. Without locks (an address that is
 * neither https nor local) no tab reads a stream, and poll is called every minute.
 *
 * tell gets each event. poll asks the server whether the session lives.
 */
export function connect(tell: (message: Message) => void, poll: () => Promise<boolean>): Tabs {
  const channel = new BroadcastChannel(channelName);
  let followed: AbortController | undefined;
  const stop = () => {
    followed?.abort();
    followed = undefined;
  };
  channel.onmessage = ({ data }: MessageEvent<Message>) => {
    if (data.name === "ended") stop(); // no tab needs the stream any more
    tell(data);
  };
  // The other tabs first: this one may be closing.
  const spread = (message: Message) => {
    channel.postMessage(message);
    if (message.name === "ended") stop();
    tell(message);
  };
  return {
    post: (message) => channel.postMessage(message),
    follow(another) {
      if (another) stop();
      if (followed) return;
      const { signal } = (followed = new AbortController());
      const work = navigator.locks
        ? navigator.locks.request(lockName, { signal }, () => listen(spread, poll, signal))
        : repeat(poll, signal);
      work.catch(() => {}); // stopped
    },
    close() {
      stop();
      channel.close();
    },
  };
}

async function repeat(poll: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
  do await pause(60_000, signal);
  while (await poll());
}

/** Reads the stream, and so holds the lock, until it is stopped or the session has ended. */
async function listen(spread: (message: Message) => void, poll: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
  let attempt = 0;
  while (!signal.aborted) {
    const last = await stream((message) => {
      attempt = 0;
      spread(message);
    }, signal);
    if (last === "ended") return;
    if (last === "replaced") continue; // by another session
    await pause(2 * backoff(attempt++), signal);
    if (!(await poll())) {
      spread({ name: "ended", data: { reason: "unknown" } });
      return;
    }
  }
}

/** Reads one stream to its end, and returns the name of the last event. */
function stream(tell: (message: Message) => void, signal: AbortSignal): Promise<string> {
  return new Promise((resolve) => {
    let last = "";
    const source = new EventSource("/api/auth/events");
    const end = () => {
      signal.removeEventListener("abort", end);
      source.close();
      resolve(last);
    };
    signal.addEventListener("abort", end);
    for (const name of streamed) {
      source.addEventListener(name, (event: MessageEvent<string>) => {
        last = name;
        if (name === "ended" || name === "replaced") end();
        tell({ name, data: JSON.parse(event.data) as unknown });
      });
    }
    // Not left to EventSource, which never stops and waits the same time.
    source.onerror = end;
  });
}
