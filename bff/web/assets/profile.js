// The server writes the times at which the session ends in UTC; this turns
// them to the reader's own clock and adds how far away they are, and moves the
// one that use moves.

// The pages are in English: of the reader's languages, only a kind of English fits in.
const english = navigator.languages.find((l) => l.startsWith("en")) ?? "en";
const exact = new Intl.DateTimeFormat(english, { dateStyle: "long", timeStyle: "short" });
const relative = new Intl.RelativeTimeFormat(english, { numeric: "auto" });

function show(time) {
  if (!time) return;
  const end = new Date(time.dateTime);
  const minutes = Math.round((end - Date.now()) / 60000);
  const [count, unit] =
    Math.abs(minutes) < 90 ? [minutes, "minute"]
    : Math.abs(minutes) < 2880 ? [Math.round(minutes / 60), "hour"]
    : [Math.round(minutes / 1440), "day"];
  time.title ||= time.textContent;
  time.textContent = exact.format(end);
  time.nextElementSibling.textContent = relative.format(count, unit);
}

const idle = document.getElementById("session-idle");
const latest = document.getElementById("session-end");
show(idle);
show(latest);

function move(time, to) {
  if (!time) return;
  time.dateTime = to;
  time.title = "";
  show(time);
}

addEventListener("gatehouse:session", ({ detail }) => {
  move(idle, detail.idle_expires_at);
  move(latest, detail.expires_at);
});
