import { type ReactElement, type ReactNode } from "react";
import { type Failed, type Session, type SessionError, type SignedOut, type State, type User } from "./index.js";
/** Properties of {@link SessionProvider}. */
export interface SessionProviderProps {
    /** Default: the `session` of `gatehouse-browser`. */
    session?: Session | undefined;
    /**
     * The user for whom the server has rendered the page, null for none: the first state, on the
     * server and in the browser, until Gatehouse has answered in the browser. Later values are not
     * used. Default: the first state is `loading`.
     */
    user?: User | null | undefined;
    children?: ReactNode;
}
/**
 * Provides a session to the hooks below it. Pages that use the `session` of `gatehouse-browser` and
 * do not render users on a server need none.
 */
export declare function SessionProvider({ session, user, children }: SessionProviderProps): ReactElement;
/** {@link SessionProvider} by its name in nextjs-auth0. */
export declare const UserProvider: typeof SessionProvider;
/** Returns the state of the session. */
export declare function useSession(): State;
/** What {@link useUser} returns. */
export interface UserContext {
    /** The user; undefined if none is signed in or known. */
    readonly user?: User | undefined;
    /** Why it is not known whether a user is signed in. `user` is the last known one then. */
    readonly error?: SessionError | undefined;
    /** The server has not been asked yet. */
    readonly isLoading: boolean;
    /** Asks again. */
    readonly checkSession: () => Promise<void>;
}
/** Returns the user, as `useUser` of nextjs-auth0 (version 3) does. */
export declare function useUser(): UserContext;
/**
 * Returns the seconds that are left of the session, rounded up, while its `warning` is set; before,
 * and without a session, undefined. The component is rendered each second while it is a number.
 */
export declare function useTimeLeft(): number | undefined;
/** What to show in a state: a node, or a function that returns one. */
export type Slot<S> = ReactNode | ((state: S) => ReactNode);
/** Properties of {@link RequireSession}. */
export interface RequireSessionProps {
    /** What only a signed-in user sees. It stays while an error keeps the session unknown. */
    children?: Slot<User>;
    /** Shown until the server has answered. Default: nothing. */
    loading?: ReactNode;
    /** Shown if no user is known because of an error. Default: a sentence, and a button to try again. */
    error?: Slot<Failed>;
    /**
     * Shown without a session, instead of the default: it navigates to the sign-in, unless a session
     * has ended while the page was open. Then it says so, and has a button to sign in.
     */
    signedOut?: Slot<SignedOut>;
}
/**
 * Shows its children to a signed-in user. It protects nothing that a page has loaded already: the
 * policies of the API do. A sign-in is never started because of an error.
 */
export declare function RequireSession({ children, loading, error, signedOut }: RequireSessionProps): ReactElement;
