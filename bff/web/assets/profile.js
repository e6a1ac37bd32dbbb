// The server writes the end of the session in UTC; this turns it to the
// reader's own clock and adds how far away it is.

const time = document.getElementById("session-end");

if (time) {
  // The pages are in English: of the reader's languages, only a kind of English fits in.
  const english = navigator.languages.find((l) => l.startsWith("en")) ?? "en";
  const end = new Date(time.dateTime);
  const minutes = Math.round((end - Date.now()) / 60000);
  const [count, unit] =
    Math.abs(minutes) < 90 ? [minutes, "minute"]
    : Math.abs(minutes) < 2880 ? [Math.round(minutes / 60), "hour"]
    : [Math.round(minutes / 1440), "day"];
  time.title = time.textContent;
  time.textContent = new Intl.DateTimeFormat(english, { dateStyle: "long", timeStyle: "short" }).format(end);
  document.getElementById("session-away").textContent =
    new Intl.RelativeTimeFormat(english, { numeric: "auto" }).format(count, unit);
}
