/** Resolves after a time in milliseconds, and rejects when the signal is aborted. */
export function pause(milliseconds, signal) {
    return new Promise((resolve, reject) => {
        if (signal?.aborted)
            return reject(signal.reason);
        const aborted = () => {
            clearTimeout(timer);
            reject(signal?.reason);
        };
        const timer = setTimeout(() => {
            signal?.removeEventListener("abort", aborted);
            resolve();
        }, milliseconds);
        signal?.addEventListener("abort", aborted, { once: true });
    });
}
/** A pause before attempt n (from 0) in milliseconds: it doubles up to a minute, with jitter. */
export function backoff(attempt) {
    return Math.min(1000 * 2 ** attempt, 60_000) * (0.5 + Math.random());
}
