// Puts the page together: loads what there is, follows what happens, and listens to the keys.

import { ask, byId, copy, grouped, setText, tryToAsk } from "./dom.js";
import { Detail } from "./detail.js";
import { Faults } from "./faults.js";
import { List } from "./list.js";
import { Store } from "./store.js";

const CHUNK = 500;
// What happens within this time is shown together, in milliseconds.
const PAUSE = 100;
const RELOAD_PAUSE = 2000;

const store = new Store();
const faults = new Faults();
const list = new List(store, select);
const detail = new Detail(closeDetail);
detail.changed = schedule;

let state = null;
let offset = 0;
let stream = null;
let load = 0;
let timer = 0;
let reloadTimer = 0;

/** The emulator's time in milliseconds. */
const now = () => (state?.clock.running ? performance.now() + offset : offset);

function schedule() {
  timer ||= setTimeout(() => {
    timer = 0;
    render();
  }, PAUSE);
}

function render() {
  list.render(now());
  detail.render(list.selected === null ? null : store.get(list.selected), now());
}

function select(key, { open = false } = {}) {
  list.selected = key;
  render();
  document.body.classList.toggle("open", key !== null);
  if (open && getComputedStyle(detail.node).position === "fixed") detail.node.focus();
}

function closeDetail() {
  const row = list.rows.get(list.selected);
  select(null);
  row?.main.focus();
}

function showState(told) {
  state = told;
  offset = Date.parse(told.clock.now) - (told.clock.running ? performance.now() : 0);
  setText(byId("url"), told.url);
  setText(byId("balance"), `${grouped(told.balance)} đ`);
  setText(byId("count"), grouped(told.messages) + (told.pruned ? ` (+${grouped(told.pruned)} pruned)` : ""));
  setText(byId("requests"), grouped(told.requests));
  faults.render(told.faults);
  showSnippets(told.url);
}

function showSnippets(url) {
  setText(byId("snippet-env"), `export ESMS_BASE_URL=${url}\nexport ESMS_API_KEY=any ESMS_SECRET_KEY=any`);
  setText(
    byId("snippet-python"),
    [
      "import asyncio",
      "from esms_async import Credentials, EsmsClient, Message",
      "",
      "async def main():",
      `    url = "${url}"`,
      '    async with EsmsClient(Credentials("any", "any"), base_url=url) as esms:',
      '        await esms.send(Message("0901888484", "482913 la ma xac minh cua ban"))',
      "",
      "asyncio.run(main())",
    ].join("\n"),
  );
  const body = '{"ApiKey":"any","SecretKey":"any","SmsType":"8","Phone":"0901888484","Content":"482913 la ma xac minh cua ban"}';
  setText(byId("snippet-shell"), `curl ${url}SendMultipleMessage_V4_post_json/ \\\n  -d '${body}'`);
}

function showLive(word, tone) {
  setText(byId("live"), word);
  byId("live").dataset.tone = tone;
}

/** Load the newest of everything, follow from there on, then load what is older, bit by bit. */
async function start() {
  const mine = ++load;
  stream?.close();
  try {
    // One after the other: what happens meanwhile is told again by the stream, from the first on.
    const requests = await ask("GET", `requests?operation=send&limit=${CHUNK}`);
    const messages = await ask("GET", `messages?limit=${CHUNK}`);
    const told = await ask("GET", "state");
    if (mine !== load) return;
    store.clear();
    detail.forgetReports();
    showState(told);
    takeOlder({ requests: requests.requests, messages: messages.messages });
    follow(requests.event, mine);
    render();
    if (list.selected !== null && store.get(list.selected) === null) select(null);
    await Promise.all([loadOlder("requests", requests, mine), loadOlder("messages", messages, mine)]);
  } catch {
    if (mine === load) restartSoon();
  }
}

function takeOlder({ requests = [], messages = [] }) {
  for (const message of messages) store.putMessage(message, { older: true });
  for (const request of requests) store.putRequest(request, { older: true });
}

async function loadOlder(name, page, mine) {
  let told = page;
  while (told.older && mine === load) {
    const only = name === "requests" ? "operation=send&" : "";
    told = await ask("GET", `${name}?${only}limit=${CHUNK}&before=${told[name].at(-1).number}`);
    if (mine === load) takeOlder(told);
    schedule();
  }
}

function restartSoon() {
  showLive("reconnecting…", "bad");
  reloadTimer ||= setTimeout(() => {
    reloadTimer = 0;
    start();
  }, RELOAD_PAUSE);
}

function follow(event, mine) {
  const followed = new EventSource(`/_emulator/events?after=${encodeURIComponent(event)}`);
  stream = followed;
  const on = (kind, take) =>
    followed.addEventListener(kind, (told) => {
      if (mine !== load) return;
      take(JSON.parse(told.data));
      schedule();
    });
  on("message", (message) => store.putMessage(message));
  on("request", (request) => store.putRequest(request));
  on("report", (report) => detail.putReport(report));
  on("state", showState);
  on("reset", () => {
    store.clear();
    detail.forgetReports();
    list.reset();
    select(null);
  });
  // The page has fallen behind, or the emulator is another one.
  on("reload", () => {
    followed.close();
    restartSoon();
  });
  followed.addEventListener("open", () => showLive("live", "good"));
  followed.addEventListener("error", () => {
    if (mine !== load) return;
    if (followed.readyState === EventSource.CLOSED) restartSoon();
    else showLive("reconnecting…", "bad");
  });
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const isTyping = event.target.matches("input, textarea, select");
  if (event.key === "Escape") {
    if (event.target === byId("search")) {
      byId("search").value = "";
      onSearch();
      byId("search").blur();
    } else if (document.body.classList.contains("open")) closeDetail();
  } else if (isTyping) {
    return;
  } else if (event.key === "/") {
    event.preventDefault();
    byId("search").focus();
    byId("search").select();
  } else if (event.key === "j") list.move(1);
  else if (event.key === "k") list.move(-1);
}

function onSearch() {
  list.reset();
  render();
}

byId("search").addEventListener("input", onSearch);
byId("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  list.move(0);
});
byId("clear").addEventListener("click", () => tryToAsk("DELETE", "messages"));
byId("copy-url").addEventListener("click", () => copy(byId("url").textContent, "the base URL"));
for (const name of ["env", "python", "shell"]) {
  byId(`copy-${name}`).addEventListener("click", () => copy(byId(`snippet-${name}`).textContent, "the snippet"));
}
document.addEventListener("keydown", onKey);
// Deliveries come about by the clock alone, without an event.
setInterval(schedule, 1000);
start();
