// The upload of a product's file: chosen or dropped, with progress, and repeated after a failure.

import { call, complain, download, element, fileFacts, player, refusal, size } from "./catalog.js";

const span = (n, unit) => `${n} ${unit}${n === 1 ? "" : "s"}`;

// offerUpload makes the section of the page work, and returns the function that shows a product in
// it. uploaded is called with the product after an upload.
export function offerUpload(uploaded) {
  const place = document.getElementById("upload");
  const input = document.getElementById("choose");
  const drop = document.getElementById("drop");
  const facts = document.getElementById("file-facts");
  const sending = document.getElementById("sending");
  const bar = document.getElementById("progress");
  const left = document.getElementById("sending-note");
  const cancel = document.getElementById("cancel-upload");
  const retry = document.getElementById("retry-upload");
  const note = document.getElementById("upload-note");
  const said = document.getElementById("progress-said");
  const product = `products/${place.dataset.id}`;
  // The name of a file that is not uploaded yet survives in the tab when its page ends: with the
  // session, or by a reload.
  const mark = `upload ${product}`;
  let request, chosen;

  function tell(text, state) {
    note.dataset.state = state;
    note.replaceChildren(element("p", "status", text));
  }

  // say is for screen readers, which do not read a progress bar out as it grows.
  function say(text) {
    if (said.textContent !== text) said.textContent = text;
  }

  function show(p) {
    const parts = p.file ? [fileFacts(p.file)] : [element("p", "", "There is no file yet. Buyers cannot buy the product before.")];
    if (p.file?.contentType.startsWith("audio/")) parts.push(player(p.name, p.file));
    if (p.file) {
      const actions = element("p", "actions");
      actions.append(download(p.name, "Download"));
      parts.push(actions);
    }
    facts.replaceChildren(...parts);
    document.getElementById("choose-label").textContent = p.file ? "Choose a file to replace it, or drop it here" : "Choose a file, or drop it here";
  }

  function busy(on) {
    drop.hidden = on;
    sending.hidden = !on;
    cancel.hidden = !on;
    if (on) {
      retry.hidden = true;
      note.replaceChildren();
      say(`Uploading ${chosen.name}`);
      sessionStorage.setItem(mark, chosen.name);
      cancel.focus();
    } else {
      say("");
      request = undefined;
    }
  }

  // again offers to repeat the upload.
  function again() {
    retry.hidden = false;
    retry.focus();
  }

  function failed(problem) {
    busy(false);
    let remedy = "";
    if (problem.reason === "CONTENT_TOO_LONG" && problem.metadata.max_bytes) problem.message = `The file has ${size(chosen.size)}. The maximum is ${size(problem.metadata.max_bytes)}.`;
    else if (problem.fields?.length) {
      problem.message = problem.fields.map(({ field, description }) => `${field === "file_name" ? "The name of the file" : "The file"} ${description}.`).join(" ");
      if (problem.fields.some(({ field }) => field === "file_name")) remedy = " Rename the file, and choose it again.";
    }
    problem.message += ` Nothing was stored.${remedy}`;
    complain(note, problem);
    // The same file would be refused again.
    if ([400, 403, 404, 413].includes(problem.status)) {
      sessionStorage.removeItem(mark);
      input.focus();
    } else {
      again();
    }
  }

  function progress(begun, { loaded, total }) {
    bar.max = total;
    bar.value = loaded;
    const seconds = (performance.now() - begun) / 1000;
    const remaining = Math.ceil((total - loaded) * seconds / loaded);
    let text = `${size(loaded)} of ${size(total)}`;
    if (loaded === total) text += ". The server checks it.";
    else if (seconds > 1 && Number.isFinite(remaining)) text += `, about ${remaining < 90 ? span(remaining, "second") : span(Math.round(remaining / 60), "minute")} left`;
    left.textContent = text;
    if (loaded === total) say("The server checks the file");
    else if (loaded * 4 >= total) say(`${Math.floor(loaded * 4 / total) * 25}% uploaded`);
  }

  // transfer sends the file. fetch has no progress of uploads.
  function transfer(address) {
    return new Promise((resolve, reject) => {
      const begun = performance.now();
      request = new XMLHttpRequest();
      request.open("POST", address);
      request.responseType = "json";
      request.setRequestHeader("Accept", "application/json");
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.upload.addEventListener("progress", (event) => progress(begun, event));
      request.addEventListener("load", () => (request.status === 200 && request.response
        ? resolve(request.response)
        : reject(refusal(request.status, request.getResponseHeader("Retry-After"), request.response))));
      request.addEventListener("error", () => reject({ message: "The connection broke off, or the file can no longer be read." }));
      request.addEventListener("abort", () => resolve(undefined));
      request.send(chosen);
    });
  }

  async function send(file) {
    if (request) return;
    chosen = file;
    bar.removeAttribute("value");
    left.textContent = "";
    document.getElementById("sending-name").textContent = `Uploading ${file.name}`;
    request = { abort() { this.aborted = true; } };
    const first = request;
    busy(true);
    const query = { name: product, file_name: file.name, size_bytes: file.size };
    try {
      // First without the content: a refusal during a long upload looks like a broken connection.
      await call("POST", `/api/products:upload?${new URLSearchParams({ ...query, validate_only: true })}`);
      const p = first.aborted ? undefined : await transfer(`/api/products:upload?${new URLSearchParams(query)}`);
      busy(false);
      sessionStorage.removeItem(mark);
      if (!p) {
        tell("The upload was cancelled. Nothing was stored.", "");
        again();
        return;
      }
      show(p);
      uploaded(p);
      tell(`${p.file.fileName} is uploaded.`, "ok");
      input.focus();
    } catch (problem) {
      failed(problem);
    }
  }

  function take(files) {
    const [file] = files;
    if (!file) return;
    if (files.length > 1) tell("A product has one file. Pack several into an archive.", "problem");
    else if (file.size === 0) tell("The file is empty, or a folder. Pack a folder into an archive.", "problem");
    else send(file);
  }

  input.addEventListener("change", () => {
    take(input.files);
    input.value = ""; // so that the same file can be chosen again
  });
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, () => drop.classList.toggle("over", kind === "dragenter" || kind === "dragover"));
    // A file that misses the place would replace the page.
    addEventListener(kind, (event) => event.preventDefault());
  }
  drop.addEventListener("drop", (event) => take(event.dataTransfer.files));
  cancel.addEventListener("click", () => request?.abort());
  retry.addEventListener("click", () => send(chosen));
  addEventListener("beforeunload", (event) => {
    if (request && document.documentElement.dataset.ended === undefined) event.preventDefault();
  });

  const interrupted = sessionStorage.getItem(mark);
  if (interrupted !== null) {
    sessionStorage.removeItem(mark);
    tell(`The upload of ${interrupted} was interrupted. Unless it is the file above, nothing was stored: choose it again.`, "problem");
  }
  return show;
}
