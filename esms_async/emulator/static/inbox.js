// Puts the page together: loads what there is, follows what happens, and listens to the keys.

import {
  addressOf,
  ask,
  baseUrlOf,
  byId,
  element,
  explain,
  grouped,
  oneAtATime,
  pathHere,
  secondOf,
  setAttribute,
  setText,
  spaced,
  toast,
  tryToAsk,
} from "./dom.js";
import { Handset } from "./handset.js";
import { Hello } from "./hello.js";
import { List, textOf } from "./list.js";
import { Account, ClockChip, Faults, Popovers } from "./panels.js";
import { Rows } from "./rows.js";
import { copyCode, Story } from "./story.js";

// What happens within this time is drawn together, in milliseconds.
const PAUSE = 100;
// Where more rows than this come within the pause, drawing is what costs, and the pause is longer.
const BURST = 20;
const LONG_PAUSE = 400;
const RETRY = 2000;
const SEARCH_PAUSE = 120;
// A stream on which nothing was heard for so long may be dead; a question tells.
const SILENCE = 20_000;
const ICON = addressOf("/_emulator/page/icon.svg");
// Below this width, the list and the message stand one at a time.
const ONE_COLUMN = matchMedia("(max-width: 719px)");

const clock = new ClockChip();
const account = new Account();
const faults = new Faults();
const popovers = new Popovers();
const hello = new Hello();
const rows = new Rows(schedule);
const list = new List(rows, {
  select: (row, how) => choose(row, how),
  narrow: (filter) => narrow(filter, rows.query),
});
const handset = new Handset({
  now: () => clock.now(),
  known: (phone) => rows.ofPhone(phone),
  hasMore: () => rows.older,
});
const story = new Story({ back: closeDetail, state: () => state });

let state = null;
let stream = null;
let load = 0;
let drawTimer = 0;
let retryTimer = 0;
let searchTimer = 0;
let isFollowing = true;
let isLive = false;
let isRouted = false;
let lastHeard = 0;
let fresh = 0;
// How many rows have come since the page was drawn.
let arrived = 0;
let isBurst = false;
// Whether the state to come counts rows that did not come one by one.
let isTop = false;
// The row that stands beside the list: kept here, too, where newer ones have pushed it out.
let selected = null;

const isMobile = () => ONE_COLUMN.matches;
const isOpen = () => "open" in document.body.dataset;

/* ---------- drawing ---------- */

function schedule() {
  drawTimer ||= setTimeout(
    () => {
      drawTimer = 0;
      isBurst = arrived > BURST;
      arrived = 0;
      render();
    },
    isBurst ? LONG_PAUSE : PAUSE,
  );
}

function render() {
  if (state === null) return;
  rows.trim();
  if (isFollowing) {
    const [newest] = rows.found;
    if (newest) show(newest);
    else if (!rows.isNarrowed) show(null);
  } else if (selected !== null) {
    show(rows.get(selected.number) ?? selected);
  }
  list.selected = selected?.number ?? null;
  list.render(clock.now(), state);
  handset.render();
  setAttribute(byId("follow"), "aria-pressed", String(isFollowing));
  byId("fresh").hidden = fresh === 0;
  setText(byId("fresh"), `${grouped(fresh)} new`);
  showLive();
  showTitle();
}

function showLive() {
  byId("live").dataset.tone = isLive ? "ok" : "bad";
  const { messages } = state.counts;
  const words = isLive ? `${grouped(messages)} ${messages === 1 ? "message" : "messages"}` : "Not connected";
  const node = byId("count");
  if (node.dataset.words === words) return;
  node.dataset.words = words;
  node.replaceChildren(...(isLive ? [element("span", { class: "l" }, "Live · ")] : []), words);
}

function showTitle() {
  const count = state.counts.all;
  const code = selected?.code ? `${selected.code} · ` : "";
  const title = `${count ? `(${grouped(count)}) ` : ""}${code}eSMS emulator`;
  if (document.title !== title) document.title = title;
}

/** Show a row beside the list, or the page of an emulator that has none. */
function show(row) {
  const view = row?.kind ?? "empty";
  setAttribute(byId("detail"), "data-view", view);
  selected = row;
  if (row === null) {
    story.showEmpty(hello.node);
    handset.show(null);
  } else {
    story.show(row);
    if (row.kind === "send") handset.show(row);
  }
}

function showMissing(words) {
  setAttribute(byId("detail"), "data-view", "missing");
  selected = null;
  story.showMissing(words);
  handset.show(null);
}

/* ---------- choosing ---------- */

function choose(row, { byKey = false } = {}) {
  if (row === null) return;
  const isNewest = row === rows.found[0];
  setFollowing(isNewest && !isMobile());
  const isListAlone = isMobile() && !isOpen();
  // The address of the list alone names no row: Back leads there.
  replaceAddress(isFollowing || isListAlone ? "/" : row.link);
  if (isListAlone && !byKey) history.pushState({ open: true }, "", addressOf(row.link));
  show(row);
  if (!byKey) document.body.dataset.open = "";
  render();
  if (byKey) list.reveal({ focus: !(isMobile() && isOpen()) });
  else if (isMobile()) byId("story").querySelector(".back")?.focus({ preventScroll: true });
}

function replaceAddress(path, entry = history.state) {
  history.replaceState(entry, "", addressOf(path));
}

function setFollowing(value) {
  isFollowing = value;
  if (value) fresh = 0;
}

function followNewest() {
  setFollowing(true);
  replaceAddress("/");
  render();
  list.reveal();
}

function closeDetail() {
  if (history.state?.open) history.back();
  else {
    leaveDetail();
    replaceAddress("/", null);
  }
}

function leaveDetail() {
  if (!isOpen()) return;
  delete document.body.dataset.open;
  list.reveal({ focus: true });
}

/** Show what the address names: /m/<SMSID>, /r/<number>, or the newest. */
async function route() {
  const [, kind, name] = /^\/([mr])\/([^/]+)$/.exec(pathHere()) ?? [];
  if (!kind) {
    leaveDetail();
    return;
  }
  setFollowing(false);
  document.body.dataset.open = "";
  try {
    const row = await find(kind, decodeURIComponent(name));
    show(rows.get(row.number) ?? row);
    render();
    list.reveal();
  } catch (error) {
    if (error.status === 404)
      showMissing(
        `Nothing is kept under ${pathHere()}: it was cleared, or the emulator was started anew.`,
      );
    else showMissing(explain(error));
    render();
  }
}

async function find(kind, name) {
  const path = encodeURIComponent(name);
  if (kind === "m") return ask("GET", `messages/${path}`);
  const known = rows.get(Number(name));
  if (known) return known;
  const request = await ask("GET", `requests/${path}`).catch(() => null);
  if (request === null || request.taken) return ask("GET", `sends/${path}`);
  return { kind: "not_taken", link: pathHere(), path_short: request.path, repeats: 1, ...request };
}

function narrow(filter, query) {
  rows.narrow(filter, query);
  byId("scroller").scrollTop = 0;
  render();
  if (rows.isNarrowed) setText(byId("say"), `${grouped(rows.found.length)} found`);
}

/* ---------- what the emulator tells ---------- */

async function start() {
  const mine = ++load;
  stream?.close();
  clearTimeout(retryTimer);
  try {
    const told = await ask("GET", "state");
    const event = await rows.load();
    if (mine !== load) return;
    takeState(told);
    handset.forget();
    follow(event, mine);
    if (!isRouted || pathHere() !== "/") {
      isRouted = true;
      await route();
    } else if (rows.get(selected?.number)?.at !== selected?.at) {
      // What was read is gone, and no link says what it was.
      setFollowing(true);
    }
    render();
    list.reveal();
  } catch (error) {
    if (mine === load) lose(error);
  }
}

function takeState(told) {
  if (isTop && !isFollowing && !rows.isNarrowed) fresh += came(told) - came(state);
  isTop = false;
  state = told;
  rows.dropOlder(told.oldest);
  list.firstAccount = told.accounts[0].name;
  clock.take(told.clock);
  account.render(told);
  faults.render(told);
  hello.render(baseUrlOf(told));
}

function follow(event, mine) {
  const followed = new EventSource(addressOf(`/_emulator/events?after=${encodeURIComponent(event)}`));
  stream = followed;
  const on = (kind, take) =>
    followed.addEventListener(kind, (told) => {
      if (mine !== load) return;
      lastHeard = performance.now();
      take(JSON.parse(told.data));
      schedule();
    });
  on("row", takeRow);
  on("top", takeTop);
  on("state", takeState);
  on("reset", () => {
    rows.clear();
    setFollowing(true);
    show(null);
    replaceAddress("/", null);
    delete document.body.dataset.open;
  });
  // The page has fallen behind, or the emulator is another one.
  on("reload", () => start());
  followed.addEventListener("open", () => {
    if (mine === load) showConnected();
  });
  followed.addEventListener("error", () => {
    if (mine === load) lose(null, followed.readyState === EventSource.CLOSED);
  });
}

/** How many rows there have been since the last reset. */
const came = ({ counts }) => counts.all + counts.pruned;

/** Take the newest rows in the place of all: more came than anybody can follow. */
function takeTop(page) {
  arrived += page.rows.length;
  isTop = true;
  const newest = rows.newest;
  rows.takeTop(page);
  for (const row of page.rows) {
    handset.put(row);
    if (row.number > newest) announce(row);
  }
  handset.refresh();
  refreshSelected();
}

/** Ask for the row that stands open where it is not among the newest. */
const refreshSelected = oneAtATime(async () => {
  const { number, kind } = selected ?? {};
  if (isFollowing || kind !== "send" || rows.get(number)) return;
  try {
    const row = await ask("GET", `sends/${number}`);
    if (selected?.number === number) show(row);
  } catch {
    // It is gone; what was known of it stays.
  }
  await new Promise((resolve) => setTimeout(resolve, LONG_PAUSE));
});

function takeRow(row) {
  arrived += 1;
  const isNew = rows.put(row);
  handset.put(row);
  if (!isNew) return;
  list.noteArrival(row.number);
  if (!isFollowing && rows.fits(row)) fresh += 1;
  announce(row);
}

/** Say that the emulator does not answer, and since when what is shown is old. */
function lose(error, isOver = true) {
  if (isLive || byId("lost").hidden) {
    const since = state === null ? "" : ` What you see was known at ${secondOf(clock.now())}.`;
    const words = error?.status ? error.message : `The emulator does not answer.${since} Trying again…`;
    setText(byId("lost").firstElementChild, words);
    byId("lost").hidden = false;
  }
  isLive = false;
  if (isOver) {
    clearTimeout(retryTimer);
    retryTimer = setTimeout(start, RETRY);
  }
  if (state !== null) schedule();
}

/** Find out whether a stream is silent because nothing happens, or because nobody is there. */
async function check() {
  lastHeard = performance.now();
  const mine = load;
  try {
    const told = await ask("GET", "state");
    if (mine === load) takeState(told);
  } catch (error) {
    if (mine === load) lose(error);
  }
}

function showConnected() {
  isLive = true;
  lastHeard = performance.now();
  byId("lost").hidden = true;
  schedule();
}

/* ---------- news, for those who look elsewhere ---------- */

let announceTimer = 0;
let unsaid = [];

function announce(row) {
  unsaid.push(row);
  announceTimer ||= setTimeout(() => {
    const [one] = unsaid;
    const words = unsaid.length > 1 ? `${grouped(unsaid.length)} new` : wordsOf(one);
    setText(byId("say"), words);
    if (document.hidden && isNotifying())
      new Notification("eSMS emulator", { body: words, tag: "esms", icon: ICON });
    announceTimer = 0;
    unsaid = [];
  }, 1000);
}

const wordsOf = (row) =>
  row.kind === "not_taken"
    ? `Not taken: ${row.reason}`
    : `${spaced(row.phone)}: ${row.code ?? textOf(row).slice(0, 80)}`;
const isNotifying = () => byId("notify").getAttribute("aria-pressed") === "true";

async function toggleNotifications() {
  const isWanted = !isNotifying();
  if (isWanted && (await Notification.requestPermission()) !== "granted") {
    toast("The browser does not allow notifications here");
    return;
  }
  setAttribute(byId("notify"), "aria-pressed", String(isWanted));
  toast(isWanted ? "Notifications on, while this page is hidden" : "Notifications off");
}

/* ---------- keys ---------- */

function copySelected() {
  if (selected?.code) copyCode(selected.code);
  else toast("This message holds no code");
}

function onEscape() {
  const opener = popovers.close();
  const search = byId("search");
  if (opener) opener.focus();
  else if (document.activeElement === search || search.value) {
    search.value = "";
    search.blur();
    narrow(rows.filter, "");
  } else if (faults.isOpen) faults.toggle(false);
  else if (isOpen() && isMobile()) closeDetail();
}

const KEYS = {
  j: () => list.move(1),
  k: () => list.move(-1),
  ArrowDown: () => list.move(1),
  ArrowUp: () => list.move(-1),
  c: copySelected,
  f: () => faults.toggle(),
  "/": () => {
    byId("search").focus();
    byId("search").select();
  },
  "?": () => byId("keys").showModal(),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || byId("keys").open) return;
  if (event.key === "Escape") {
    onEscape();
    return;
  }
  const press = Object.hasOwn(KEYS, event.key) ? KEYS[event.key] : null;
  if (press === null || event.target.matches("input, textarea, select")) return;
  // Where there is something to scroll, arrows scroll it.
  if (event.key.startsWith("Arrow") && event.target.closest("pre, .thread, .pop, .drawer")) return;
  event.preventDefault();
  press();
}

byId("search").addEventListener("input", (event) => {
  clearTimeout(searchTimer);
  searchTimer = setTimeout(() => narrow(rows.filter, event.target.value.trim()), SEARCH_PAUSE);
});
byId("find").addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(searchTimer);
  narrow(rows.filter, byId("search").value.trim());
  if (rows.found[0]) choose(rows.found[0], { byKey: true });
});
byId("fresh").addEventListener("click", followNewest);
byId("follow").addEventListener("click", () => {
  if (!isFollowing) followNewest();
  else {
    setFollowing(false);
    render();
  }
});
byId("clear").addEventListener("click", () => tryToAsk("DELETE", "messages"));
byId("keys-open").addEventListener("click", () => byId("keys").showModal());
byId("try-again").addEventListener("click", () => start());
byId("notify").hidden = !("Notification" in window);
byId("notify").addEventListener("click", toggleNotifications);
document.addEventListener("keydown", onKey);
addEventListener("popstate", route);
// A browser reads a relative link anew when the address of the page changes.
byId("icon").href = ICON;
// The clock and the words for how long ago go on without an event.
setInterval(() => {
  clock.render();
  if (document.hidden) return;
  schedule();
  if (isLive && performance.now() - lastHeard > SILENCE) check();
}, 1000);
start();
