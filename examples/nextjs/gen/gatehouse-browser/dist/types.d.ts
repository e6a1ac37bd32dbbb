import type { SessionError } from "./errors.js";
/**
 * The claims of the signed-in user, as `/api/auth/me` returns them. Declare further claims of your
 * provider by augmentation:
 *
 * ```ts
 * declare module "gatehouse-browser" {
 *   interface User { permissions?: string[] }
 * }
 * ```
 */
export interface User {
    /** The subject: identifies the user at the provider, and never changes. */
    readonly sub: string;
    readonly name?: string;
    readonly given_name?: string;
    readonly family_name?: string;
    readonly nickname?: string;
    readonly preferred_username?: string;
    readonly email?: string;
    readonly email_verified?: boolean;
    readonly picture?: string;
    readonly [claim: string]: unknown;
}
/**
 * Why a session ended while the page was open:
 *
 * - `signed_out`: the user signed out in this browser.
 * - `elsewhere`: the user ended the session from another device.
 * - `provider`: the provider ended the session.
 * - `operator`: an administrator ended the session.
 * - `expired`: the session was not used for too long, or has reached its end.
 * - `evicted`: the user has too many sessions, and this one was unused for longest.
 * - `unknown`: the end was noticed afterwards.
 */
export type Reason = "signed_out" | "elsewhere" | "provider" | "operator" | "expired" | "evicted" | "unknown";
/** The server has not been asked yet. */
export interface Loading {
    readonly status: "loading";
}
/** A user is signed in. */
export interface SignedIn {
    readonly status: "signed-in";
    readonly user: User;
    /**
     * When the session ends if it is not used, in milliseconds since 1970 by the clock of this device.
     * The server's clock decides: a wrong clock of the device does not matter. Undefined until the
     * server has told it.
     */
    readonly expiresAt?: number;
    /** When the session ends at the latest, as `expiresAt`. */
    readonly latestAt?: number;
    /** Whether the session ends within `warnBefore` seconds. */
    readonly warning: boolean;
    /** Whether {@link Session.extend} moves the end. If not, only a new sign-in does. */
    readonly extendable: boolean;
}
/** No user is signed in. */
export interface SignedOut {
    readonly status: "signed-out";
    /** Why the session ended; undefined if there was none since the page was loaded. */
    readonly reason?: Reason;
}
/**
 * The server did not say whether a user is signed in: it could not be reached, or it answered with
 * an error. It is asked again at `retryAt`, and when the device is online again or the page visible.
 * Do not treat this state as signed out.
 */
export interface Failed {
    readonly status: "error";
    readonly error: SessionError;
    /** The user who was signed in before; undefined if none was known. */
    readonly user?: User;
    /** When the server is asked again, in milliseconds since 1970. */
    readonly retryAt: number;
}
/** The state of the session. It is immutable. */
export type State = Loading | SignedIn | SignedOut | Failed;
/** Parameters of a sign-in. See docs/login.md of Gatehouse. */
export interface LoginOptions {
    /** The page after the sign-in: a path of this origin. Default: the current page. */
    returnTo?: string | undefined;
    /** Whether and what the provider asks. `none` signs in without interaction, if possible. */
    prompt?: "none" | "login" | "select_account" | "consent" | undefined;
    /** The greatest age of the user's authentication, in seconds. */
    maxAge?: number | undefined;
    /** Authentication context classes, one of which is required. */
    acrValues?: string | readonly string[] | undefined;
    /** The user's identifier, such as an e-mail address, if it is known. */
    loginHint?: string | undefined;
    /** The page of the provider to begin with, such as `signup`. Some providers know it. */
    screenHint?: string | undefined;
    /** Preferred languages, such as `de en`. */
    uiLocales?: string | undefined;
    /** The identity provider to use behind the provider. Some providers know it. */
    connection?: string | undefined;
    /** The organization to sign in to. Some providers know it. */
    organization?: string | undefined;
}
/** Parameters of a sign-out. */
export interface LogoutOptions {
    /** The page after the sign-out: a path of this origin. Default: `/`. */
    returnTo?: string | undefined;
}
/**
 * What {@link Session.fetch} does when a request needs a sign-in:
 *
 * - `reject`: it rejects with a {@link LoginRequiredError}. The page stays as it is, with what the
 *   user has entered.
 * - `navigate`: it does the same, and after a GET or HEAD request it navigates to the sign-in. Other
 *   requests never navigate, because they send what the user has entered.
 */
export type OnLoginRequired = "reject" | "navigate";
/** The second parameter of {@link Session.fetch}. */
export interface FetchInit extends RequestInit {
    /** Replaces the option of the session for this request. */
    onLoginRequired?: OnLoginRequired | undefined;
    /** How often the request is repeated at most after 429 and 503; 0 for never. Default: 3. */
    repeats?: number | undefined;
}
/** Options of {@link createSession}. */
export interface SessionOptions {
    /** How long before the end of the session its `warning` is set, in seconds. Default: 60. */
    warnBefore?: number | undefined;
    /** What {@link Session.fetch} does when a request needs a sign-in. Default: `reject`. */
    onLoginRequired?: OnLoginRequired | undefined;
    /**
     * The user for whom a server has rendered the page, null for none. The session then begins with
     * this state and without a request. On a server, make one session for each request.
     */
    initialUser?: User | null | undefined;
    /**
     * Called when another user has signed in than the one before, before the state changes. What the
     * page has in memory may belong to the former user. Default: reload the page.
     */
    onUserChange?: ((user: User) => void) | undefined;
}
/**
 * A Session follows the session of this browser. It sends no request, opens no connection and sets
 * no timer before the first call of `subscribe` or `check`. Its functions can be used without the
 * object.
 */
export interface Session {
    /** Calls a listener after each change of the state. It returns a function that ends that. */
    readonly subscribe: (listener: () => void) => () => void;
    /** The state. The object is the same until the state changes. */
    readonly getSnapshot: () => State;
    /** Asks the server for the user, and returns the new state. It counts as use of the session. */
    readonly check: () => Promise<State>;
    /** Extends the session by using it, and returns the new state with its end. */
    readonly extend: () => Promise<State>;
    /**
     * How many seconds are left of the session, by a clock that does not follow changes of the
     * device's time; undefined if unknown. It is 0 until the server has confirmed the end.
     */
    readonly remaining: () => number | undefined;
    /** Navigates to the sign-in. */
    readonly login: (options?: LoginOptions) => void;
    /** Navigates to the sign-out. */
    readonly logout: (options?: LogoutOptions) => void;
    /**
     * Is `window.fetch`, with three differences for requests to this origin:
     *
     * - A 401 that a sign-in would resolve rejects with a {@link LoginRequiredError}. The state is
     *   `signed-out` then if the session has ended.
     * - A 429 or 503 with `Retry-After` is waited for and repeated, if the method is idempotent, the
     *   body can be sent again, and `Retry-After` is at most 30 seconds. `signal` ends the wait.
     * - Nothing is sent for it: no token and no header.
     *
     * Requests to other origins are passed on unchanged.
     */
    readonly fetch: (input: RequestInfo | URL, init?: FetchInit) => Promise<Response>;
}
