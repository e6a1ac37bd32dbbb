import type { FetchInit, OnLoginRequired, State } from "./types.js";
/** Returns the function {@link Session.fetch} of a session. check asks the server for its state. */
export declare function fetcher(check: () => Promise<State>, onLoginRequired: OnLoginRequired): (input: RequestInfo | URL, init?: FetchInit) => Promise<Response>;
/** The `Retry-After` of a response in milliseconds; undefined if it has none that can be read. */
export declare function retryAfter(response: Response): number | undefined;
