"use client";
import { createContext, createElement, Fragment, useContext, useEffect, useMemo, useState, useSyncExternalStore, } from "react";
import { session as shared } from "./index.js";
/** Makes the store of a session. user is the one for whom a server has rendered the page. */
function storeOf(session, user) {
    const initial = user
        ? { status: "signed-in", user, warning: false, extendable: false }
        : { status: user === null ? "signed-out" : "loading" };
    let answered = false;
    let last;
    let shown = initial;
    const state = () => {
        const now = session.getSnapshot();
        if (now === last)
            return shown;
        last = now;
        answered ||= now.status === "signed-in" || now.status === "signed-out";
        // Until Gatehouse has answered in the browser, what the server knew is better than nothing.
        if (answered || user === undefined)
            shown = now;
        else if (now.status === "loading")
            shown = initial;
        else
            shown = now.status === "error" && user ? { ...now, user } : now;
        return shown;
    };
    const left = () => {
        const now = session.getSnapshot();
        return now.status === "signed-in" && now.warning ? (session.remaining() ?? 0) : undefined;
    };
    return {
        session,
        state,
        serverState: () => initial,
        seconds() {
            const now = left();
            return now === undefined ? undefined : Math.ceil(now);
        },
        subscribeSeconds(listener) {
            let timer;
            const wait = () => {
                clearTimeout(timer);
                const now = left();
                if (now)
                    timer = setTimeout(changed, (now % 1 || 1) * 1000); // when the next second begins
            };
            const changed = () => {
                wait();
                listener();
            };
            const stop = session.subscribe(changed);
            wait();
            return () => {
                clearTimeout(timer);
                stop();
            };
        },
    };
}
const Context = createContext(storeOf(shared));
/**
 * Provides a session to the hooks below it. Pages that use the `session` of `gatehouse-browser` and
 * do not render users on a server need none.
 */
export function SessionProvider({ session = shared, user, children }) {
    const [first] = useState(user);
    const store = useMemo(() => storeOf(session, first), [session, first]);
    return createElement(Context.Provider, { value: store }, children);
}
/** {@link SessionProvider} by its name in nextjs-auth0. */
export const UserProvider = SessionProvider;
/** Returns the state of the session. */
export function useSession() {
    const { session, state, serverState } = useContext(Context);
    return useSyncExternalStore(session.subscribe, state, serverState);
}
/** Returns the user, as `useUser` of nextjs-auth0 (version 3) does. */
export function useUser() {
    const { session } = useContext(Context);
    const state = useSession();
    return useMemo(() => ({
        user: "user" in state ? state.user : undefined,
        error: state.status === "error" ? state.error : undefined,
        isLoading: state.status === "loading",
        checkSession: async () => void (await session.check()),
    }), [session, state]);
}
/**
 * Returns the seconds that are left of the session, rounded up, while its `warning` is set; before,
 * and without a session, undefined. The component is rendered each second while it is a number.
 */
export function useTimeLeft() {
    const { subscribeSeconds, seconds } = useContext(Context);
    return useSyncExternalStore(subscribeSeconds, seconds, () => undefined);
}
/**
 * Shows its children to a signed-in user. It protects nothing that a page has loaded already: the
 * policies of the API do. A sign-in is never started because of an error.
 */
export function RequireSession({ children, loading, error, signedOut }) {
    const state = useSession();
    let shown;
    if ("user" in state && state.user)
        shown = fill(children, state.user);
    else if (state.status === "signed-out")
        shown = signedOut === undefined ? createElement(SignIn, state) : fill(signedOut, state);
    else if (state.status === "error")
        shown = error === undefined ? createElement(TryAgain) : fill(error, state);
    else
        shown = loading;
    return createElement(Fragment, null, shown);
}
function fill(slot, state) {
    return typeof slot === "function" ? slot(state) : slot;
}
/** Whether the page is being left for the sign-in. */
let leaving = false;
function SignIn({ reason }) {
    const { session } = useContext(Context);
    useEffect(() => {
        // After a sign-out in another tab, a sign-in here could bring the user back at once.
        if (reason !== undefined)
            return;
        // Later, because React's StrictMode runs effects twice. Once for several guards.
        const timer = setTimeout(() => {
            if (leaving)
                return;
            leaving = true;
            addEventListener("pageshow", () => (leaving = false), { once: true });
            session.login();
        });
        return () => clearTimeout(timer);
    }, [session, reason]);
    // The button is for pages that Back has brought from memory.
    const button = createElement("button", { type: "button", onClick: () => session.login() }, "Sign in");
    return createElement("p", null, reason !== undefined && "Your session has ended. ", button);
}
function TryAgain() {
    const { session } = useContext(Context);
    const button = createElement("button", { type: "button", onClick: () => void session.check() }, "Try again");
    return createElement("p", { role: "alert" }, "Your session cannot be checked. ", button);
}
