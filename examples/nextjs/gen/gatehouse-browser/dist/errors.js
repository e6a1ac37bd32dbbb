/** Why the state of the session is unknown. */
export class SessionError extends Error {
    name = "SessionError";
    /** The status of the response; undefined if there was none. */
    status;
    constructor(message, status, options) {
        super(message, options);
        this.status = status;
    }
}
const messages = {
    "signed-out": "the session has ended",
    "step-up": "a newer or stronger sign-in is required",
    refused: "the API refuses the session's token",
};
/** A request needs a sign-in. */
export class LoginRequiredError extends Error {
    name = "LoginRequiredError";
    /**
     * - `signed-out`: the session has ended.
     * - `step-up`: the user is signed in, and the request requires a newer or stronger sign-in
     *   (RFC 9470).
     * - `refused`: the session is not known to have ended, and the API refuses its token. A sign-in
     *   may not help.
     */
    kind;
    /** The address of a sign-in that satisfies the request and returns to the current page. */
    loginURL;
    /** The response, whose body has not been read. */
    response;
    constructor(kind, loginURL, response) {
        super(messages[kind]);
        this.kind = kind;
        this.loginURL = loginURL;
        this.response = response;
    }
    /** Navigates to the sign-in. */
    login() {
        location.assign(this.loginURL);
    }
}
