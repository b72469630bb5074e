// Makes elements, writes times and speaks to the emulator. Text becomes text nodes, never markup.

export const byId = (id) => document.getElementById(id);

/** Make an element: `attributes` by name, functions as listeners, children as text or nodes. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child != null && child !== false));
  return made;
}

/** Make an icon of the sprite in index.html. */
export function icon(name, tone = null) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  made.setAttribute("aria-hidden", "true");
  if (tone) made.setAttribute("class", tone);
  made.append(use);
  return made;
}

/** Let a fault break after each comma. */
export const breakable = (spec) => spec.split(/(?<=,)/).flatMap((part) => [part, element("wbr")]);

/** Words for those who do not see the page. */
export const unseen = (words) => element("span", { class: "vh" }, words);

/** Set a text only where it differs, so that what a person has selected stays selected. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Set an attribute only where it differs; null takes it away. */
export function setAttribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

// Where the page stands: another port or a folder, where something stands before the emulator.
const ROOT = new URL("../../", import.meta.url);

/** Where this page reaches a path of the emulator. */
export const addressOf = (path) => ROOT.pathname + path.slice(1);

/** The base URL for an app: the emulator tells its own, which may have another port and folder. */
export const baseUrlOf = ({ url }) => location.origin + addressOf(new URL(url).pathname);

/** The path of the emulator that the page's address names. */
export const pathHere = () => location.pathname.slice(ROOT.pathname.length - 1);

// What hangs for so long does not answer at all, in milliseconds.
const PATIENCE = 15_000;

/** Ask the control interface; an answer that is no success becomes an Error with its words. */
export async function ask(method, path, body) {
  const options = { method, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  const answer = await fetch(addressOf(`/_emulator/${path}`), options);
  const told = await answer.json().catch(() => ({}));
  if (answer.ok) return told;
  const error = new Error(told.error ?? `the emulator answered HTTP ${answer.status}`);
  error.status = answer.status;
  throw error;
}

/** Ask, and say in passing what went wrong. */
export async function tryToAsk(method, path, body) {
  try {
    return await ask(method, path, body);
  } catch (error) {
    toast(explain(error));
    return null;
  }
}

/** What to say of an error: fetch itself only knows that it has failed. */
export const explain = (error) => (error.status ? error.message : "The emulator does not answer");

/** Have a task run once at a time, and once more where it was asked for meanwhile. */
export function oneAtATime(task) {
  let isRunning = false;
  let isWanted = false;
  return async () => {
    isWanted = true;
    if (isRunning) return;
    isRunning = true;
    while (isWanted) {
      isWanted = false;
      await task();
    }
    isRunning = false;
  };
}

let toastTimer = 0;

/** Say something in passing. */
export function toast(words) {
  const node = byId("toast");
  node.textContent = words;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (node.textContent = ""), 2500);
}

export async function copy(text, what = text) {
  try {
    // By another name than localhost, a page over plain http has no clipboard to ask.
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else copyBySelection(text);
    toast(`Copied ${what}`);
    return true;
  } catch {
    toast("The browser did not allow to copy; select the text by hand");
    return false;
  }
}

function copyBySelection(text) {
  const focused = document.activeElement;
  const field = element("textarea", { class: "vh", "aria-hidden": "true" });
  field.value = text;
  document.body.append(field);
  field.select();
  const isDone = document.execCommand("copy");
  field.remove();
  focused?.focus({ preventScroll: true });
  if (!isDone) throw new Error("not allowed");
}

export const grouped = (number) => number.toLocaleString("en");

/** Write a phone as people read it: 0901 888 484. */
export function spaced(phone) {
  const match = /^(\d{4})(\d{3})(\d{3})$/.exec(phone ?? "");
  return match ? match.slice(1).join(" ") : phone || "no phone";
}

// Times are shown as in Vietnam, which is what SendDate means and what the phones would show.
const AHEAD_OF_UTC = 7 * 3_600_000;
const DAY = 86_400_000;
const WEEKDAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const inVietnam = (at) => new Date(at + AHEAD_OF_UTC);

export const minuteOf = (at) => inVietnam(at).toISOString().slice(11, 16);
export const secondOf = (at) => inVietnam(at).toISOString().slice(11, 19);
export const dayNumber = (at) => Math.floor((at + AHEAD_OF_UTC) / DAY);

export function dateOf(at) {
  const day = inVietnam(at);
  return `${WEEKDAYS[day.getUTCDay()]} ${day.getUTCDate()} ${MONTHS[day.getUTCMonth()]}`;
}

/** "Today" or "Yesterday", or nothing. */
export const nearDay = (at, now) => ["Today", "Yesterday"][dayNumber(now) - dayNumber(at)] ?? "";

export function dayWords(at, now) {
  const near = nearDay(at, now);
  return near ? `${near}, ${dateOf(at)}` : dateOf(at);
}

export function ago(at, now) {
  const seconds = (now - at) / 1000;
  if (seconds < 1) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min ago` : minuteOf(at);
}

/** How long something took. */
export const lasting = (ms) =>
  ms < 1000 ? `${ms < 10 ? +ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;

/** The time since a first request, in few characters. */
export function since(ms) {
  if (ms < 0.5) return "0";
  if (ms < 1000) return `+${Math.round(ms)} ms`;
  if (ms < 60_000) return `+${(ms / 1000).toFixed(2)} s`;
  if (ms < 3_600_000) return `+${(ms / 60_000).toFixed(1)} min`;
  return `+${(ms / 3_600_000).toFixed(1)} h`;
}
