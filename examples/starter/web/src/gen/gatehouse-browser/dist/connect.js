import { BinaryReader } from "@bufbuild/protobuf/wire";
import { Code, ConnectError } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { LoginRequiredError, loginURL, session as shared } from "./index.js";
/**
 * Makes a transport for clients in pages behind Gatehouse. It sends its requests by
 * {@link Session.fetch}. A call that needs a sign-in is rejected with a `ConnectError` of the code
 * `unauthenticated`, for which {@link loginRequired} returns the details, and the state of the
 * session follows.
 */
export function createTransport({ session = shared, baseUrl = "/api", interceptors = [], ...options } = {}) {
    /** What calls have got, by the signals that they are made with. */
    const answers = new WeakMap();
    // ConnectError would turn the rejection of session.fetch into code "unknown". Instead it is made
    // from the response, which has the details, and gets the rejection as its cause.
    const fetch = async (input, init) => {
        const answer = await session.fetch(input, init).catch((error) => {
            if (error instanceof LoginRequiredError)
                return error;
            throw error;
        });
        if (init?.signal)
            answers.set(init.signal, answer);
        return answer instanceof LoginRequiredError ? answer.response : answer;
    };
    const failed = async (reason, signal) => {
        const error = ConnectError.from(reason);
        const answer = answers.get(signal);
        if (error.code !== Code.Unauthenticated || !answer)
            return error;
        if (answer instanceof LoginRequiredError)
            error.cause = answer;
        // The error of a stream comes in its body, with status 200 and without Gatehouse-Login.
        else if (answer.ok && answer.type !== "cors")
            error.cause = (await ofStream(session, error, answer)) ?? error.cause;
        return error;
    };
    async function* watch(messages, signal) {
        try {
            yield* messages;
        }
        catch (reason) {
            throw await failed(reason, signal);
        }
    }
    const interceptor = (next) => async (request) => {
        try {
            const response = await next(request);
            return response.stream ? { ...response, message: watch(response.message, request.signal) } : response;
        }
        catch (reason) {
            throw await failed(reason, request.signal);
        }
    };
    // The last interceptor is nearest to the call: the others see its errors.
    return createConnectTransport({ useHttpGet: true, ...options, baseUrl, fetch, interceptors: [...interceptors, interceptor] });
}
/** Returns why a call needs a sign-in, and how to get it; undefined for other errors. */
export function loginRequired(error) {
    const cause = error instanceof ConnectError ? error.cause : error;
    return cause instanceof LoginRequiredError ? cause : undefined;
}
/** Makes what `Session.fetch` makes of a 401. A stream whose token has expired can be called again. */
async function ofStream(session, error, response) {
    const { reason, metadata } = errorInfo(error);
    if (reason === "STEP_UP_REQUIRED") {
        const { acr_values: acrValues, max_age: maxAge } = metadata;
        return new LoginRequiredError("step-up", loginURL({ acrValues, maxAge: maxAge ? Number(maxAge) : undefined }), response);
    }
    const { status } = await session.check();
    if (status !== "signed-out" && reason === "TOKEN_EXPIRED")
        return undefined;
    return new LoginRequiredError(status === "signed-out" ? "signed-out" : "refused", loginURL(), response);
}
/** Returns the google.rpc.ErrorInfo of an error; its generated code belongs to the application. */
function errorInfo(error) {
    const info = { reason: "", metadata: {} };
    for (const detail of error.details) {
        if (!("type" in detail) || detail.type !== "google.rpc.ErrorInfo")
            continue;
        const reader = new BinaryReader(detail.value);
        while (reader.pos < reader.len) {
            const [field, wireType] = reader.tag();
            if (field === 1)
                info.reason = reader.string();
            else if (field === 3) {
                const entry = new BinaryReader(reader.bytes());
                let key = "";
                while (entry.pos < entry.len) {
                    if (entry.tag()[0] === 1)
                        key = entry.string();
                    else
                        info.metadata[key] = entry.string();
                }
            }
            else
                reader.skip(wireType, field);
        }
    }
    return info;
}
