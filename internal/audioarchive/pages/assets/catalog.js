// Shared by the pages of the catalogue: calls, errors, and the display of a product. Data of the
// API is inserted into a page as text only.

export const workstations = {
  DAW_ABLETON_LIVE: "Ableton Live", DAW_BITWIG_STUDIO: "Bitwig Studio", DAW_CUBASE: "Cubase", DAW_FL_STUDIO: "FL Studio",
  DAW_LOGIC_PRO: "Logic Pro", DAW_PRO_TOOLS: "Pro Tools", DAW_REAPER: "REAPER", DAW_STUDIO_ONE: "Studio One",
};

export function element(name, className, text) {
  const e = document.createElement(name);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

// Problem is the error of a call: the message for the user, and the errors of fields.
export class Problem extends Error {
  constructor(message, status, body) {
    super(message);
    this.status = status;
    const details = Array.isArray(body?.details) ? body.details : [];
    this.reason = details.find((d) => d["@type"]?.endsWith("google.rpc.ErrorInfo"))?.reason ?? "";
    this.fields = details.flatMap((d) => (d["@type"]?.endsWith("google.rpc.BadRequest") ? d.fieldViolations ?? [] : []));
  }
}

function sentence(response, body) {
  const wait = Number(response.headers.get("Retry-After"));
  const later = wait > 0 ? `Try again in ${wait} seconds.` : "Try again in a moment.";
  switch (response.status) {
    case 401: return "Your session has ended. Sign in again to go on.";
    case 403: {
      const needed = body?.details?.find((d) => d.reason === "PERMISSION_MISSING")?.metadata?.permissions;
      return needed ? `You are signed in, but your account lacks the permission ${needed}.` : "You are signed in, but your account may not do this.";
    }
    case 404: return "There is no such product. It may have been deleted.";
    case 429: return `Too many requests. ${later}`;
    case 502: case 503: case 504: return `The catalogue cannot answer right now. ${later}`;
  }
  return response.status < 500 && body?.message ? `The catalogue refused: ${body.message}.` : "The catalogue failed to answer.";
}

// call returns the JSON of a response, or throws a Problem.
export async function call(method, path, body) {
  let response, answer;
  try {
    response = await fetch(path, {
      method,
      headers: { Accept: "application/json", ...(body && { "Content-Type": "application/json" }) },
      body: body && JSON.stringify(body),
      cache: "no-store",
      signal: AbortSignal.timeout(15000),
    });
    answer = await response.json().catch(() => undefined);
  } catch (error) {
    throw new Problem(error.name === "TimeoutError"
      ? "The server took too long to answer. Try again in a moment."
      : "The server could not be reached. Check your connection and try again.", 0);
  }
  if (!response.ok || answer === undefined) throw new Problem(sentence(response, answer), response.status, answer);
  return answer;
}

// digits is the number of decimal places of an amount.
export function digits(currency) {
  return new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions().maximumFractionDigits;
}

export function money(price) {
  const amount = Number(price?.amountMinor ?? 0);
  if (amount === 0) return "Free";
  const currency = price.currencyCode;
  return new Intl.NumberFormat("en", { style: "currency", currency }).format(amount / 10 ** digits(currency));
}

export function day(timestamp) {
  const time = element("time", "", new Date(timestamp).toLocaleDateString("en", { day: "numeric", month: "long", year: "numeric" }));
  time.dateTime = timestamp;
  return time;
}

export const idOf = (product) => product.name.replace(/^products\//, "");

// complain shows a problem in an element, with a link to sign in again if that helps.
export function complain(place, problem) {
  const parts = [element("p", "status", problem.message)];
  if (problem.status === 401 && place.dataset.login) {
    const link = element("a", "button primary small", "Sign in again");
    link.href = place.dataset.login;
    const actions = element("p", "actions");
    actions.append(link);
    parts.push(actions);
  }
  place.dataset.state = "problem";
  place.replaceChildren(...parts);
  place.hidden = false;
}
