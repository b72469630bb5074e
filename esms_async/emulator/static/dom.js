// Makes elements and speaks to the emulator. Text becomes text nodes, never markup.

/** Make an element: `attributes` by name, functions as listeners, children as text or nodes. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

export const byId = (id) => document.getElementById(id);

/** Set a text only where it differs, so that what a person has selected stays selected. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Ask the control interface; an answer that is no success becomes an Error with its words. */
export async function ask(method, path, body) {
  const options = { method, cache: "no-store" };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  const answer = await fetch(`/_emulator/${path}`, options);
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error);
  return told;
}

let toastTimer = 0;

/** Say something in passing. */
export function toast(words) {
  const node = byId("toast");
  node.textContent = words;
  node.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => node.classList.remove("shown"), 2500);
}

/** Ask, and say in passing what went wrong. */
export async function tryToAsk(method, path, body) {
  try {
    return await ask(method, path, body);
  } catch (error) {
    toast(error.message);
    return null;
  }
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    toast(`Copied ${what}`);
  } catch {
    toast("The browser did not allow to copy; select the text by hand");
  }
}

const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});

export const timeOf = (iso) => clock.format(new Date(iso));

export const exactTimeOf = (iso) =>
  `${timeOf(iso)}.${String(new Date(iso).getMilliseconds()).padStart(3, "0")}`;

export const grouped = (number) => new Intl.NumberFormat("en").format(number);

/** Write a phone as people read it: 0901 888 484. */
export function spaced(phone) {
  const match = /^(\d{4})(\d{3})(\d{3})$/.exec(phone ?? "");
  return match ? match.slice(1).join(" ") : (phone ?? "no phone");
}
