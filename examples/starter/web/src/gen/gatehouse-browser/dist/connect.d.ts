import { type Transport } from "@connectrpc/connect";
import { type ConnectTransportOptions } from "@connectrpc/connect-web";
import { LoginRequiredError, type Session } from "./index.js";
/** Options of {@link createTransport}: those of `createConnectTransport`, with other defaults. */
export interface TransportOptions extends Omit<ConnectTransportOptions, "baseUrl" | "fetch"> {
    /** The session that calls belong to. Default: the `session` of `gatehouse-browser`. */
    session?: Session | undefined;
    /** Default: `/api`. */
    baseUrl?: string | undefined;
    /** Whether methods without side effects are called by GET. Default: true. */
    useHttpGet?: boolean;
}
/**
 * Makes a transport for clients in pages behind Gatehouse. It sends its requests by
 * {@link Session.fetch}. A call that needs a sign-in is rejected with a `ConnectError` of the code
 * `unauthenticated`, for which {@link loginRequired} returns the details, and the state of the
 * session follows.
 */
export declare function createTransport({ session, baseUrl, interceptors, ...options }?: TransportOptions): Transport;
/** Returns why a call needs a sign-in, and how to get it; undefined for other errors. */
export declare function loginRequired(error: unknown): LoginRequiredError | undefined;
