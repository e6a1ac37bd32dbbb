/** Why the state of the session is unknown. */
export declare class SessionError extends Error {
    readonly name = "SessionError";
    /** The status of the response; undefined if there was none. */
    readonly status: number | undefined;
    constructor(message: string, status?: number, options?: ErrorOptions);
}
declare const messages: {
    "signed-out": string;
    "step-up": string;
    refused: string;
};
/** A request needs a sign-in. */
export declare class LoginRequiredError extends Error {
    readonly name = "LoginRequiredError";
    /**
     * - `signed-out`: the session has ended.
     * - `step-up`: the user is signed in, and the request requires a newer or stronger sign-in
     *   (RFC 9470).
     * - `refused`: the session is not known to have ended, and the API refuses its token. A sign-in
     *   may not help.
     */
    readonly kind: keyof typeof messages;
    /** The address of a sign-in that satisfies the request and returns to the current page. */
    readonly loginURL: string;
    /** The response, whose body has not been read. */
    readonly response: Response;
    constructor(kind: LoginRequiredError["kind"], loginURL: string, response: Response);
    /** Navigates to the sign-in. */
    login(): void;
}
export {};
