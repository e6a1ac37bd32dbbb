import { LoginRequiredError } from "./errors.js";
import { pause } from "./time.js";
import { namedLogin } from "./urls.js";
/** Methods that have the same effect when they are repeated (RFC 9110 §9.2.2). */
const idempotent = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"];
const longestWait = 30_000;
/** Returns the function {@link Session.fetch} of a session. check asks the server for its state. */
export function fetcher(check, onLoginRequired) {
    return async (input, init = {}) => {
        const { onLoginRequired: how = onLoginRequired, repeats = 3, ...rest } = init;
        const request = input instanceof Request ? input : undefined;
        const method = (rest.method ?? request?.method ?? "GET").toUpperCase();
        const signal = rest.signal ?? request?.signal;
        if (!sameOrigin(request?.url ?? String(input)))
            return fetch(input, rest);
        for (let repeated = 0;; repeated++) {
            const response = await fetch(input, rest);
            if (response.type === "cors" || response.type === "opaque")
                return response; // redirected elsewhere
            const login = response.headers.get("Gatehouse-Login");
            if (response.status === 401 && login !== null) {
                throw await loginRequired(response, login, check, how, method);
            }
            const again = repeated < repeats && idempotent.includes(method) && !request?.bodyUsed &&
                !(globalThis.ReadableStream && rest.body instanceof ReadableStream);
            const wait = response.status === 429 || response.status === 503 ? retryAfter(response) : undefined;
            if (!again || wait === undefined || wait > longestWait)
                return response;
            await response.body?.cancel();
            // With jitter, so that not all browsers come back in the same moment.
            await pause(wait + Math.random() * 500, signal);
        }
    };
}
/** Makes the error of a 401, and navigates if that is asked for and safe. */
async function loginRequired(response, login, check, how, method) {
    const stepUp = /error="?insufficient_user_authentication/.test(response.headers.get("WWW-Authenticate") ?? "");
    // A session that is alive although the API refuses its token would be sent to the sign-in and
    // back forever.
    const kind = stepUp ? "step-up" : (await check()).status === "signed-out" ? "signed-out" : "refused";
    const error = new LoginRequiredError(kind, namedLogin(login), response);
    if (how === "navigate" && kind !== "refused" && (method === "GET" || method === "HEAD"))
        error.login();
    return error;
}
function sameOrigin(url) {
    try {
        return new URL(url, location.href).origin === location.origin;
    }
    catch {
        return false; // not an address, or not in a browser
    }
}
/** The `Retry-After` of a response in milliseconds; undefined if it has none that can be read. */
export function retryAfter(response) {
    const value = response.headers.get("Retry-After");
    if (!value)
        return undefined;
    const wait = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
    return Number.isNaN(wait) ? undefined : Math.max(wait, 0);
}
