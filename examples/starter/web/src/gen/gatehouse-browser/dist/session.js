import { SessionError } from "./errors.js";
import { connect } from "./events.js";
import { fetcher, retryAfter } from "./fetch.js";
import { backoff } from "./time.js";
import { loginURL, logoutURL } from "./urls.js";
const reasons = ["signed_out", "elsewhere", "provider", "operator", "expired", "evicted"];
const mePath = "/api/auth/me";
const sessionPath = "/api/auth/session";
/** How old a confirmation may be when the page becomes visible, in milliseconds. */
const freshness = 30_000;
/** The longest time between two looks at the clocks, in milliseconds. */
const tick = 60_000;
/** The largest difference of the clocks' progress that is no sleep of the device. */
const clockJump = 5000;
/** Makes a {@link Session}. Most pages use the one that this module exports as `session`. */
export function createSession(options = {}) {
    const warnBefore = (options.warnBefore ?? 60) * 1000;
    const initial = options.initialUser;
    const listeners = new Set();
    let state = initial
        ? { status: "signed-in", user: initial, warning: false, extendable: false }
        : { status: initial === null ? "signed-out" : "loading" };
    /** The last known user's subject; it is kept when the session ends. */
    let subject = initial?.sub;
    /** When the session ends, by performance.now, and how far Date.now was ahead of it then. */
    let ends;
    /** When the server has last told the state, by performance.now. */
    let confirmedAt = initial === undefined ? -Infinity : performance.now();
    /** Counts what makes answers under way obsolete. */
    let epoch = 0;
    let asking;
    let failures = 0;
    /** The Retry-After of the last failure, in milliseconds. */
    let wait = 0;
    let timer;
    let tabs;
    let listening;
    let stopping;
    /** The visibility that the page had before it was hidden; undefined while it is shown. */
    let covered;
    /** The page is hidden until it is loaded anew. */
    let reloading = false;
    // Changes of the state.
    function set(next) {
        state = next;
        schedule();
        for (const listener of [...listeners])
            listener();
    }
    function signedIn(user) {
        const other = subject !== undefined && subject !== user.sub;
        const same = state.status === "signed-in" && !other && JSON.stringify(state.user) === JSON.stringify(user);
        subject = user.sub;
        if (other) {
            ends = undefined;
            if (options.onUserChange)
                options.onUserChange(user);
            else {
                reloading = true;
                cover(); // the former user's content
                location.reload();
            }
        }
        tabs?.follow(state.status === "signed-out");
        if (same)
            return schedule();
        set({ status: "signed-in", user, ...timesNow() });
        announce();
    }
    function signedOut(reason) {
        ends = undefined;
        // A reason that comes after the end was noticed is better than none.
        if (state.status === "signed-out" && (state.reason !== "unknown" || reason === "unknown"))
            return schedule();
        const known = state.status === "signed-out";
        set(reason === undefined ? { status: "signed-out" } : { status: "signed-out", reason });
        if (!known)
            announce();
    }
    function failed(error) {
        if (!(error instanceof SessionError))
            throw error;
        const delay = Math.max(backoff(failures++), Math.min(wait, 300_000));
        // Of a page that was kept in memory the user may have signed out since.
        const user = covered === undefined && "user" in state ? state.user : undefined;
        set({ status: "error", error, retryAt: Date.now() + delay, ...(user && { user }) });
    }
    /** Tells the other tabs who is signed in. Those that show something else ask the server. */
    function announce() {
        tabs?.post({ name: "subject", data: state.status === "signed-in" ? subject : null });
    }
    // Questions to the server.
    async function ask(path) {
        wait = 0;
        let response;
        try {
            response = await fetch(path, {
                headers: { Accept: "application/json" },
                cache: "no-store",
                signal: AbortSignal.timeout(15_000),
            });
            if (response.status === 204 || response.status === 401)
                return undefined;
            if (response.ok)
                return await response.json();
        }
        catch (cause) {
            const text = cause instanceof SyntaxError
                ? `${path} did not return JSON: is this page opened through Gatehouse?`
                : `${path} could not be reached`;
            throw new SessionError(text, undefined, { cause });
        }
        wait = retryAfter(response) ?? 0;
        throw new SessionError(`${path} returned status ${response.status}`, response.status);
    }
    /** Asks for the user. Answers that an event has made obsolete are asked for again. */
    function check() {
        return (asking ??= askUser().finally(() => (asking = undefined)));
    }
    async function askUser() {
        let started;
        do {
            started = epoch;
            try {
                const user = (await ask(mePath));
                if (started !== epoch)
                    continue;
                succeeded();
                if (user) {
                    signedIn(user);
                    if (!ends)
                        await askTimes();
                }
                else {
                    signedOut(ended());
                }
            }
            catch (error) {
                if (started === epoch)
                    failed(error);
            }
        } while (started !== epoch);
        // As long as the server does not say who the user is, it may be that the one whose content this
        // is has signed out.
        if (state.status !== "error")
            uncover();
        return state;
    }
    /** Asks when the session ends, without using it. It returns false if the session has ended. */
    async function askTimes() {
        const started = epoch;
        const times = (await ask(sessionPath));
        if (started !== epoch)
            return state.status !== "signed-out";
        succeeded();
        if (times)
            setTimes(times);
        else
            signedOut(ended());
        return times !== undefined;
    }
    /** As askTimes, for a page that shows its user. */
    async function confirm() {
        try {
            await askTimes();
        }
        catch (error) {
            if (state.status === "signed-in")
                failed(error);
        }
    }
    function succeeded() {
        failures = 0;
        confirmedAt = performance.now();
    }
    /** The reason of an end that is noticed now; undefined if no user was signed in. */
    function ended() {
        if (subject === undefined)
            return undefined;
        return ends && performance.now() >= ends.idle - 2000 ? "expired" : "unknown";
    }
    // Times.
    function setTimes(times) {
        // Without numbers, as of another server than Gatehouse, there is nothing to wait for.
        if (state.status !== "signed-in" || !(times.idle_seconds + times.absolute_seconds >= 0))
            return;
        const now = performance.now();
        const next = { idle: now + times.idle_seconds * 1000, latest: now + times.absolute_seconds * 1000, ahead: Date.now() - now };
        // The server tells whole seconds: the same end is told with small differences.
        if (ends && Math.abs(next.idle - ends.idle) < 1500 && Math.abs(next.latest - ends.latest) < 1500) {
            ends.ahead = next.ahead;
        }
        else {
            ends = next;
        }
        update();
    }
    /** Brings times and warning of the state up to date. */
    function update() {
        if (state.status !== "signed-in")
            return;
        const next = { status: "signed-in", user: state.user, ...timesNow() };
        const { expiresAt, latestAt, warning, extendable } = state;
        if (next.expiresAt === expiresAt && next.latestAt === latestAt && next.warning === warning && next.extendable === extendable)
            schedule();
        else
            set(next);
    }
    function timesNow() {
        if (!ends)
            return { warning: false, extendable: false };
        return {
            expiresAt: Math.round(ends.idle + ends.ahead),
            latestAt: Math.round(ends.latest + ends.ahead),
            warning: ends.idle - performance.now() <= warnBefore,
            extendable: ends.latest - ends.idle > 1500,
        };
    }
    /** Sets the timer for what comes next in this state. */
    function schedule() {
        clearTimeout(timer);
        if (!tabs)
            return;
        if (state.status === "error") {
            // A hidden page waits until it is visible.
            if (!document.hidden)
                timer = setTimeout(check, Math.max(state.retryAt - Date.now(), 0));
        }
        else if (state.status === "signed-in" && !ends) {
            // The event stream tells it, unless another tab reads that.
            timer = setTimeout(confirm, 1000);
        }
        else if (state.status === "signed-in" && ends) {
            const left = ends.idle - performance.now();
            const until = left > warnBefore ? left - warnBefore : left;
            timer = setTimeout(look, Math.min(Math.max(until, 1000), tick));
        }
    }
    /** Looks at the clocks. Whether the session has ended, the server decides. */
    function look() {
        if (state.status !== "signed-in" || !ends)
            return;
        const now = performance.now();
        const slept = Math.abs(Date.now() - now - ends.ahead) > clockJump;
        const warned = ends.idle - now <= warnBefore && !state.warning;
        if (ends.idle <= now)
            void confirm();
        // Another tab may have extended the session.
        else if (slept || (warned && now - confirmedAt > 2000))
            void askTimes().then(update, update);
        else
            update();
    }
    // What happens to the page.
    function heard({ name, data }) {
        switch (name) {
            case "session":
            case "extended":
                confirmedAt = performance.now();
                if (state.status === "error")
                    void check();
                else
                    setTimes(data);
                break;
            case "ended": {
                epoch++;
                const { reason } = data;
                signedOut(reasons.includes(reason) ? reason : ended());
                break;
            }
            case "replaced": // by a session of the same user or of another
                void again();
                break;
            case "subject": // another tab has learnt who is signed in
                if (state.status === "error" || data !== (state.status === "signed-in" ? subject : null)) {
                    void again().then((confirmed) => {
                        // That tab shows a former user, for whom a server has rendered it.
                        if (data !== null && confirmed.status === "signed-in" && data !== subject)
                            announce();
                    });
                }
        }
    }
    /** Asks for the user, and does not use an answer that is under way. */
    function again() {
        epoch++;
        return check();
    }
    function stale() {
        return state.status === "error" || performance.now() - confirmedAt > freshness;
    }
    function visible() {
        if (!document.hidden && stale())
            void check();
    }
    // A page that is kept in memory must not show its user after a sign-out. It keeps its content,
    // with what the user has entered, and is hidden until the same user is confirmed.
    function pagehide() {
        disconnect();
        if ("user" in state && state.user)
            cover();
    }
    function cover() {
        const { style } = document.documentElement;
        covered ??= style.visibility;
        style.visibility = "hidden";
    }
    function pageshow(event) {
        open();
        if (event.persisted)
            void again();
    }
    function uncover() {
        if (covered === undefined || reloading)
            return;
        const visibility = covered;
        covered = undefined;
        // After the listeners have changed the page.
        requestAnimationFrame(() => (document.documentElement.style.visibility = visibility));
    }
    function open() {
        if (tabs)
            return;
        tabs = connect(heard, () => askTimes().catch(() => true));
        if (state.status === "signed-in")
            tabs.follow(false);
        schedule();
    }
    function disconnect() {
        tabs?.close();
        tabs = undefined;
        clearTimeout(timer);
    }
    function start() {
        clearTimeout(stopping);
        stopping = undefined;
        if (listening || typeof document === "undefined")
            return;
        const { signal } = (listening = new AbortController());
        document.addEventListener("visibilitychange", visible, { signal });
        addEventListener("online", visible, { signal });
        addEventListener("pagehide", pagehide, { signal });
        addEventListener("pageshow", pageshow, { signal });
        open();
        const [navigation] = performance.getEntriesByType("navigation");
        // back_forward: what the server has rendered may be an old copy from the HTTP cache.
        if (stale() || navigation?.type === "back_forward")
            void check();
        else
            announce();
    }
    function stop() {
        disconnect();
        listening?.abort();
        listening = undefined;
    }
    return {
        subscribe(listener) {
            listeners.add(listener);
            start();
            return () => {
                listeners.delete(listener);
                // Later, since frameworks unsubscribe and subscribe again at once.
                if (listeners.size === 0)
                    stopping ??= setTimeout(stop, 1000);
            };
        },
        getSnapshot: () => state,
        check,
        async extend() {
            await check();
            if (state.status === "signed-in")
                await confirm();
            return state;
        },
        remaining: () => ends && Math.max(ends.idle - performance.now(), 0) / 1000,
        login: (login) => location.assign(loginURL(login)),
        logout: (logout) => location.assign(logoutURL(logout)),
        fetch: fetcher(again, options.onLoginRequired ?? "reject"),
    };
}
