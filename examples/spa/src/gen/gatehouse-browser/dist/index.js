import { createSession } from "./session.js";
export { createSession } from "./session.js";
export { loginURL, logoutURL } from "./urls.js";
export { LoginRequiredError, SessionError } from "./errors.js";
/** A session with the default options, for pages that need no others. */
export const session = /* @__PURE__ */ createSession();
