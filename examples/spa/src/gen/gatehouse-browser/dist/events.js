import { backoff, pause } from "./time.js";
// The names are shared with the embedded pages, and with other releases during a rollout.
const lockName = "gatehouse-events";
const channelName = "gatehouse-session";
const streamed = ["session", "extended", "replaced", "ended", "goodbye"];
/**
 * Connects this tab with the others. One tab of the browser has the lock, reads the server's event
 * stream, and forwards the events: browsers open six connections to an HTTP/1.1 server, so that a
 * stream for each tab would soon leave none for other requests. Without locks (an address that is
 * neither https nor local) no tab reads a stream, and poll is called every minute.
 *
 * tell gets each event. poll asks the server whether the session lives.
 */
export function connect(tell, poll) {
    const channel = new BroadcastChannel(channelName);
    let followed;
    const stop = () => {
        followed?.abort();
        followed = undefined;
    };
    channel.onmessage = ({ data }) => {
        if (data.name === "ended")
            stop(); // no tab needs the stream any more
        tell(data);
    };
    // The other tabs first: this one may be closing.
    const spread = (message) => {
        channel.postMessage(message);
        if (message.name === "ended")
            stop();
        tell(message);
    };
    return {
        post: (message) => channel.postMessage(message),
        follow(another) {
            if (another)
                stop();
            if (followed)
                return;
            const { signal } = (followed = new AbortController());
            const work = navigator.locks
                ? navigator.locks.request(lockName, { signal }, () => listen(spread, poll, signal))
                : repeat(poll, signal);
            work.catch(() => { }); // stopped
        },
        close() {
            stop();
            channel.close();
        },
    };
}
async function repeat(poll, signal) {
    do
        await pause(60_000, signal);
    while (await poll());
}
/** Reads the stream, and so holds the lock, until it is stopped or the session has ended. */
async function listen(spread, poll, signal) {
    let attempt = 0;
    while (!signal.aborted) {
        const last = await stream((message) => {
            attempt = 0;
            spread(message);
        }, signal);
        if (last === "ended")
            return;
        if (last === "replaced")
            continue; // by another session
        await pause(2 * backoff(attempt++), signal);
        if (!(await poll())) {
            spread({ name: "ended", data: { reason: "unknown" } });
            return;
        }
    }
}
/** Reads one stream to its end, and returns the name of the last event. */
function stream(tell, signal) {
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
            source.addEventListener(name, (event) => {
                last = name;
                if (name === "ended" || name === "replaced")
                    end();
                tell({ name, data: JSON.parse(event.data) });
            });
        }
        // Not left to EventSource, which never stops and waits the same time.
        source.onerror = end;
    });
}
