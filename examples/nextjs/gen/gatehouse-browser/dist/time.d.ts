/** Resolves after a time in milliseconds, and rejects when the signal is aborted. */
export declare function pause(milliseconds: number, signal?: AbortSignal | null): Promise<void>;
/** A pause before attempt n (from 0) in milliseconds: it doubles up to a minute, with jitter. */
export declare function backoff(attempt: number): number;
