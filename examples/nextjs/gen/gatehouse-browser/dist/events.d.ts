/** The end of a session, as `/api/auth/session` tells it. */
export interface Times {
    readonly idle_seconds: number;
    readonly absolute_seconds: number;
}
/** An event of the server, or of another tab (`subject`). */
export interface Message {
    readonly name: string;
    readonly data?: unknown;
}
/** What connects the tabs of a browser. */
export interface Tabs {
    /** Sends a message to the other tabs. */
    post(message: Message): void;
    /**
     * Follows the session's events until it ends. If a session is followed already, it does nothing,
     * unless this is another one.
     */
    follow(another: boolean): void;
    /** Ends everything. A page that holds a lock or a channel is not kept in memory by browsers. */
    close(): void;
}
/**
 * Connects this tab with the others. One tab of the browser has the lock, reads the server's event
 * stream, and forwards the events: browsers open six connections to an HTTP/1.1 server, so that a
 * stream for each tab would soon leave none for other requests. Without locks (an address that is
 * neither https nor local) no tab reads a stream, and poll is called every minute.
 *
 * tell gets each event. poll asks the server whether the session lives.
 */
export declare function connect(tell: (message: Message) => void, poll: () => Promise<boolean>): Tabs;
