/** The current page as a path; `/` outside a browser. */
function here() {
    const l = globalThis.location;
    return l ? l.pathname + l.search + l.hash : "/";
}
/** The address of a sign-in, for links: `<a href={loginURL({returnTo: "/orders"})}>`. */
export function loginURL(options = {}) {
    const { acrValues } = options;
    return address("/api/auth/login", {
        returnTo: options.returnTo ?? here(),
        prompt: options.prompt,
        max_age: options.maxAge,
        acr_values: typeof acrValues === "string" ? acrValues : acrValues?.join(" "),
        login_hint: options.loginHint,
        screen_hint: options.screenHint,
        ui_locales: options.uiLocales,
        connection: options.connection,
        organization: options.organization,
    });
}
/** The address of a sign-out, for links. */
export function logoutURL(options = {}) {
    return address("/api/auth/logout", { returnTo: options.returnTo });
}
/**
 * The address of a sign-in that the server has named, with the current page as its target: the
 * server knows the page by its `Referer` only, which has no fragment and may be cut.
 */
export function namedLogin(header) {
    const [path, query] = header.split("?", 2);
    if (path !== "/api/auth/login")
        return loginURL();
    const parameters = new URLSearchParams(query);
    parameters.set("returnTo", here());
    return `${path}?${parameters}`;
}
function address(path, parameters) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(parameters)) {
        if (value !== undefined && value !== "")
            query.set(name, String(value));
    }
    const text = query.toString();
    return text ? `${path}?${text}` : path;
}
