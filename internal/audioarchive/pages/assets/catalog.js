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
    const info = details.find((d) => d["@type"]?.endsWith("google.rpc.ErrorInfo"));
    this.reason = info?.reason ?? "";
    this.metadata = info?.metadata ?? {};
    this.fields = details.flatMap((d) => (d["@type"]?.endsWith("google.rpc.BadRequest") ? d.fieldViolations ?? [] : []));
  }
}

// refusal returns the Problem of a response that is no success.
export function refusal(status, retryAfter, body) {
  return new Problem(sentence(status, Number(retryAfter), body), status, body);
}

function sentence(status, wait, body) {
  const later = wait > 0 ? `Try again in ${wait} seconds.` : "Try again in a moment.";
  switch (status) {
    case 401: return "Your session has ended. Sign in again to go on.";
    case 403: {
      const needed = body?.details?.find((d) => d.reason === "PERMISSION_MISSING")?.metadata?.permissions;
      return needed ? `You are signed in, but your account lacks the permission ${needed}.` : "You are signed in, but your account may not do this.";
    }
    case 404: return "There is no such product. It may have been deleted.";
    case 429: return `Too many requests. ${later}`;
    case 502: case 503: case 504: return `The catalogue cannot answer right now. ${later}`;
  }
  return status < 500 && body?.message ? `The catalogue refused: ${body.message}.` : "The catalogue failed to answer.";
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
  if (!response.ok || answer === undefined) throw refusal(response.status, response.headers.get("Retry-After"), answer);
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

// size writes a number of bytes.
export function size(bytes) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"];
  let n = Number(bytes), unit = 0;
  for (; n >= 999.5 && unit < units.length - 1; unit++) n /= 1000;
  return new Intl.NumberFormat("en", { style: "unit", unit: units[unit], unitDisplay: unit ? "short" : "long", maximumFractionDigits: n < 10 && unit ? 1 : 0 }).format(n);
}

// fact is an entry of a list of facts.
export function fact(name, ...value) {
  const div = element("div");
  const dd = element("dd");
  dd.append(...value);
  div.append(element("dt", "", name), dd);
  return div;
}

// fileFacts are what is known about a file.
export function fileFacts(file) {
  const facts = element("dl", "facts");
  facts.append(fact("Name", file.fileName), fact("Size", size(file.sizeBytes)), fact("Type", file.contentType), fact("Uploaded", day(file.uploadTime)));
  return facts;
}

export const fileOf = (product) => `/api/${product}/file`;

// download is a link that saves a file, also one that the browser could show.
export function download(product, label, primary) {
  const link = element("a", primary ? "button primary" : "button", label);
  link.href = fileOf(product);
  link.download = "";
  return link;
}

// player plays audio. The server detects it by content, so there is none for anything else.
export function player(product, file) {
  const audio = element("audio");
  audio.controls = true;
  audio.preload = "metadata";
  audio.setAttribute("aria-label", file.fileName);
  audio.src = `${fileOf(product)}#${file.sha256}`; // another address for another content
  return audio;
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
