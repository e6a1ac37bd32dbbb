// A page for tests without a browser: what the package uses of one, with a clock
// that tests advance and a server that they script.

import { mock } from "node:test";

/** The origin of the page. */
export const origin = "https://app.example";

/**
 * Installs a page until the test t ends. Another tab has the lock, so that this one does not open
 * the event stream: streams are for tests in a browser.
 */
export function page(t, { path = "/orders?page=2#top", locks = { request: () => new Promise(() => {}) } } = {}) {
  const target = (extra) => Object.assign(new EventTarget(), extra);
  const navigated = [];
  const location = new URL(path, origin);
  const document = target({ hidden: false, documentElement: { style: { visibility: "" } } });
  const window = target({});
  const requests = [];
  const answers = new Map();
  let ahead = 0; // of performance.now

  const globals = {
    document,
    location: {
      href: location.href, origin, pathname: location.pathname, search: location.search, hash: location.hash,
      assign: (url) => navigated.push(url), reload: () => navigated.push("reload"),
    },
    navigator: { locks },
    addEventListener: window.addEventListener.bind(window),
    requestAnimationFrame: (f) => f(),
    async fetch(input, init) {
      requests.push({ input, init });
      init?.signal?.throwIfAborted();
      if (input instanceof Request && input.body) await input.text();
      const url = new URL(input.url ?? input, location);
      const script = answers.get(url.origin === origin ? url.pathname : url.href);
      if (!script?.length) throw new TypeError(`no answer to ${url}`);
      const answer = script.length > 1 ? script.shift() : script[0];
      if (answer instanceof Error) throw answer;
      return typeof answer === "function" ? answer() : answer.clone();
    },
  };
  const before = new Map(Object.keys(globals).map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]));
  for (const [name, value] of Object.entries(globals)) {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: Date.parse("2030-01-01T00:00:00Z") });
  mock.method(performance, "now", () => ahead);
  mock.method(Math, "random", () => 0.5); // no jitter
  t.after(() => {
    mock.timers.reset();
    mock.restoreAll();
    for (const [name, descriptor] of before) {
      if (descriptor) Object.defineProperty(globalThis, name, descriptor);
      else delete globalThis[name];
    }
  });

  return {
    document,
    window,
    navigated,
    requests,
    /** The paths of the requests since the last call. */
    asked: () => requests.splice(0).map((r) => String(r.input.url ?? r.input)),
    /** Answers requests for a path in turn; the last answer is repeated. */
    answer: (path, ...script) => answers.set(path, script),
    /** Starts a session at the server that ends after some seconds, and answers /api/auth/session. */
    begin(idle, absolute = 36_000) {
      const started = ahead;
      answers.set("/api/auth/session", [() => {
        const passed = Math.floor((ahead - started) / 1000);
        return passed < idle ? times(idle - passed, absolute - passed) : empty();
      }]);
    },
    /** Lets time pass, and the answers of the server arrive. */
    async pass(seconds) {
      for (let left = seconds; left > 0; left -= 0.25) {
        const step = Math.min(left, 0.25) * 1000;
        ahead += step;
        mock.timers.tick(step);
        await settle();
      }
      await settle();
    },
    /** Moves the device's clock, which performance.now does not follow. */
    setDate: (seconds) => mock.timers.setTime(Date.now() + seconds * 1000),
  };
}

/** Resolves when all answers have been handled. */
export async function settle() {
  for (let i = 0; i < 10; i++) await new Promise(setImmediate);
}

export const json = (body, status = 200) => Response.json(body, { status });
export const empty = (status = 204, headers = {}) => new Response(null, { status, headers });

/** An answer of /api/auth/session. */
const times = (idle, absolute = 36_000) => json({ idle_seconds: idle, absolute_seconds: absolute });

export const ada = { sub: "ada", name: "Ada" };
export const ben = { sub: "ben", name: "Ben" };
