import type { Session, SessionOptions } from "./types.js";
/** Makes a {@link Session}. Most pages use the one that this module exports as `session`. */
export declare function createSession(options?: SessionOptions): Session;
