// Shows the ends of the session in the local time zone, with the time that is
// left, and follows their changes. The server writes them in UTC.

import { session } from "./session.js";
import { language } from "./texts.js";

const exact = new Intl.DateTimeFormat(language, { dateStyle: "long", timeStyle: "short" });
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto" });

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
  if (!time || !to) return;
  time.dateTime = new Date(to).toISOString();
  time.title = "";
  show(time);
}

session.subscribe(() => {
  const { expiresAt, latestAt } = session.getSnapshot();
  move(idle, expiresAt);
  move(latest, latestAt);
});
