import type { LoginOptions, LogoutOptions } from "./types.js";
/** The address of a sign-in, for links: `<a href={loginURL({returnTo: "/orders"})}>`. */
export declare function loginURL(options?: LoginOptions): string;
/** The address of a sign-out, for links. */
export declare function logoutURL(options?: LogoutOptions): string;
/**
 * The address of a sign-in that the server has named, with the current page as its target: the
 * server knows the page by its `Referer` only, which has no fragment and may be cut.
 */
export declare function namedLogin(header: string): string;
