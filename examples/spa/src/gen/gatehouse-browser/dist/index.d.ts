import type { Session } from "./types.js";
export { createSession } from "./session.js";
export { loginURL, logoutURL } from "./urls.js";
export { LoginRequiredError, SessionError } from "./errors.js";
export type { Failed, FetchInit, Loading, LoginOptions, LogoutOptions, OnLoginRequired, Reason, Session, SessionOptions, SignedIn, SignedOut, State, User, } from "./types.js";
/** A session with the default options, for pages that need no others. */
export declare const session: Session;
