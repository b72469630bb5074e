// What happened to the selected row: a verdict, the timeline, the facts and the requests.

import {
  addressOf,
  ask,
  baseUrlOf,
  breakable,
  byId,
  copy,
  dateOf,
  element,
  explain,
  grouped,
  icon,
  lasting,
  minuteOf,
  oneAtATime,
  secondOf,
  since,
  spaced,
  tryToAsk,
  unseen,
} from "./dom.js";
import { colourOf, ICONS } from "./list.js";

// More arrows than this are folded.
const MOST_ARROWS = 8;
const FEWEST_FOLDED = 3;
const MOST_REQUESTS = 8;
const LANES = {
  "app gateway": ["ag", "r", "Your app to the gateway: "],
  "gateway app": ["ag", "l", "Gateway to your app: "],
  "gateway phone": ["gp", "r", "Gateway to the phone: "],
};

export class Story {
  constructor({ back, state }) {
    this.node = byId("story");
    this.back = back;
    this.state = state;
    this.row = null;
    this.detail = null;
    this.opened = new Set();
    this.unfolded = false;
    this.allRequests = false;
    this.drawnNumber = null;
    this.load = oneAtATime(() => this.#load());
  }

  /** Show a row; where it is the one that stands here, only what has changed of it. */
  show(row) {
    const isAnother = row?.number !== this.row?.number;
    if (row === this.row && row !== null) return;
    this.row = row;
    if (isAnother) {
      this.opened.clear();
      this.unfolded = false;
      this.allRequests = false;
    }
    if (row !== null) this.load();
  }

  async #load() {
    const { row } = this;
    if (row === null) return;
    let detail = null;
    let problem = "";
    try {
      detail = await ask("GET", `${row.kind === "send" ? "sends" : "requests"}/${row.number}`);
    } catch (error) {
      problem = explain(error);
    }
    if (this.row?.number !== row.number) return;
    // Without an answer, what stands here is still what was known last.
    if (detail === null && this.drawnNumber === row.number) return;
    this.detail = detail;
    this.#draw(row, problem);
  }

  #draw(row, problem = "") {
    const { node, detail } = this;
    const focused = node.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const isAnother = this.drawnNumber !== row.number;
    this.drawnNumber = row.number;
    let drawn;
    if (detail === null) drawn = missing(spaced(row.phone), problem);
    else drawn = row.kind === "send" ? this.#drawSend(detail) : drawNotTaken(detail, row);
    const back = element(
      "button",
      {
        type: "button",
        class: "btn quiet back",
        "data-testid": "back",
        "data-key": "back",
        click: this.back,
      },
      "‹ Messages",
    );
    node.replaceChildren(back, ...drawn);
    if (isAnother) node.scrollTop = 0;
    if (focused) node.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    this.drawn?.();
  }

  /** Say that a link leads nowhere. */
  showMissing(words) {
    this.row = this.detail = this.drawnNumber = null;
    const back = element(
      "button",
      { type: "button", class: "btn quiet back", "data-testid": "back", click: this.back },
      "‹ Messages",
    );
    this.node.replaceChildren(back, ...missing("Not here", words));
  }

  /** Show the page of somebody who has not sent anything yet. */
  showEmpty(hello) {
    this.row = this.detail = this.drawnNumber = null;
    if (this.node.firstChild !== hello) this.node.replaceChildren(hello);
  }

  #drawSend(send) {
    const at = Date.parse(send.at);
    const code = send.code;
    const state = this.state();
    const curl = send.curl.replace(state.url, () => baseUrlOf(state));
    return [
      element(
        "header",
        {},
        element(
          "div",
          {},
          element("h2", { "data-testid": "detail-phone" }, send.phone_shown || spaced(send.phone)),
          element("p", { class: "sub" }, `${routeOf(send)} · ${dateOf(at)}, ${secondOf(at)}`),
        ),
        element(
          "div",
          { class: "tools" },
          linkTo(send.link),
          tool("copy-curl", "curl", "Copy this request as a curl command", curl),
          tool("copy-pytest", "pytest", "Copy the skeleton of a pytest test for this message", send.pytest),
        ),
      ),
      element("div", { class: "lead" }, code === null ? null : codeButton(code), verdict(send.verdict)),
      this.#timeline(send),
      facts(send, state),
      this.#requests(send),
    ];
  }

  /* ---------- timeline ---------- */

  #timeline(send) {
    const heads = [
      element("span", { class: "h-app" }, icon("app"), "Your app"),
      element("span", { class: "h-gw" }, icon("gw"), "Gateway"),
      element("span", { class: "h-ph" }, "Phone", icon("phone")),
    ];
    const lines = linesOf(send.steps);
    return element(
      "section",
      { class: "seq", "data-testid": "timeline", "aria-label": "Timeline" },
      element("div", { class: "lanes", "aria-hidden": "true" }, element("i"), element("i"), element("i")),
      element("div", { class: "heads", "aria-hidden": "true" }, heads),
      element("ol", { "data-testid": "attempts" }, this.#fold(lines)),
      send.sms_id === null ? element("p", { class: "act end" }) : actions(send),
    );
  }

  /** Draw the lines, with a button in the place of those that say little. */
  #fold(lines) {
    const arrows = lines.filter((line) => line.step.from !== null).length;
    const isFolding = arrows > MOST_ARROWS && !this.unfolded;
    const drawn = [];
    let run = [];
    const endRun = () => {
      if (isFolding && run.filter((line) => line.step.from !== null).length >= FEWEST_FOLDED)
        drawn.push(this.#more(run));
      else drawn.push(...run.map(drawLine));
      run = [];
    };
    const telling = isFolding ? tellingLines(lines) : null;
    for (const line of lines) {
      if (isFolding && !telling.has(line)) run.push(line);
      else {
        endRun();
        drawn.push(drawLine(line));
      }
    }
    endRun();
    return drawn;
  }

  #more(run) {
    const attempts = run.filter((line) => line.step.kind === "send").length;
    const reports = run.filter((line) => line.step.kind === "report").length;
    const words = [
      attempts && `${grouped(attempts)} more ${attempts === 1 ? "attempt" : "attempts"}`,
      reports && `${grouped(reports)} more ${reports === 1 ? "report" : "reports"}`,
    ].filter(Boolean);
    const unfold = () => {
      this.unfolded = true;
      this.#draw(this.row);
      this.node.querySelector('[data-testid="timeline"]').setAttribute("tabindex", "-1");
      this.node.querySelector('[data-testid="timeline"]').focus({ preventScroll: true });
    };
    return element(
      "li",
      { class: "step more" },
      element(
        "button",
        { type: "button", class: "btn", "data-testid": "more-steps", click: unfold },
        words.join(", ") || `${run.length} more steps`,
      ),
    );
  }

  /* ---------- requests ---------- */

  #requests(send) {
    const { requests } = send;
    const first = requests[0] ? Date.parse(requests[0].at) : 0;
    const isCut = requests.length > MOST_REQUESTS && !this.allRequests;
    const shown = isCut ? [requests[0], ...requests.slice(1 - MOST_REQUESTS)] : requests;
    const offset = send.requests_pruned ?? 0;
    const all = () => {
      this.allRequests = true;
      this.#draw(this.row);
    };
    const drawn = shown.map((request) =>
      this.#request(
        request,
        offset + requests.indexOf(request) + 1,
        since(Date.parse(request.at) - first),
        send,
      ),
    );
    if (isCut)
      drawn.splice(
        1,
        0,
        element(
          "button",
          {
            type: "button",
            class: "btn quiet",
            "data-testid": "more-requests",
            "data-key": "all",
            click: all,
          },
          `Show ${grouped(requests.length - shown.length)} more requests`,
        ),
      );
    const gone = offset
      ? element(
          "p",
          { class: "mute" },
          `${grouped(offset)} older ${offset === 1 ? "request" : "requests"} made room for newer ones.`,
        )
      : null;
    return element("div", { class: "raw" }, gone, drawn);
  }

  #request(request, place, at, send) {
    const key = request.number;
    const body = element("div");
    const fill = () => body.firstChild ?? body.append(...bothWays(request));
    const made = element(
      "details",
      {
        open: this.opened.has(key),
        toggle: () => {
          this.opened[made.open ? "add" : "delete"](key);
          if (made.open) fill();
        },
      },
      element(
        "summary",
        { "data-testid": "raw-toggle", "data-key": `raw ${key}` },
        element("b", {}, `Request ${place}`),
        element("span", { class: "mute" }, answerWords(request, send)),
        element("span", { class: "grow num" }, at),
      ),
      body,
    );
    if (this.opened.has(key)) fill();
    return made;
  }
}

/* ---------- parts of a send ---------- */

function routeOf(send) {
  if (send.route === "fixed") return "Fixed number, may ring";
  return send.route === "zalo" ? "Zalo" : send.sender;
}

function verdict({ tone, text, why }) {
  const shown = { bad: "bad", warn: "warn" }[tone] ?? "";
  return element(
    "p",
    { class: `verdict ${shown}`, "data-testid": "verdict" },
    icon(ICONS[tone], colourOf(tone)),
    element("span", {}, text),
    why ? element("small", {}, why) : null,
  );
}

const tool = (name, label, title, text) =>
  element(
    "button",
    {
      type: "button",
      class: "btn quiet",
      "data-testid": name,
      "data-key": name,
      title,
      click: () => copy(text, `the ${label} ${label === "curl" ? "command" : "skeleton"}`),
    },
    label,
  );

function linkTo(link) {
  const short = link.length > 14 ? `${link.slice(0, 7)}…${link.slice(-4)}` : link;
  return element(
    "button",
    {
      type: "button",
      class: "btn quiet",
      "data-testid": "deep-link",
      "data-key": "link",
      title: "Copy the link to this message",
      click: () => copy(`${location.origin}${addressOf(link)}`, "the link"),
    },
    icon("link"),
    element("code", {}, short),
    unseen(" copy the link"),
  );
}

function codeButton(code) {
  const label = element("span", {}, "Copy ", element("kbd", { "aria-hidden": "true" }, "c"));
  const made = element(
    "button",
    {
      type: "button",
      class: "code",
      "data-testid": "detail-otp",
      "data-key": "code",
      "aria-label": `Copy the code ${code}`,
      click: () => copyCode(code),
    },
    code,
    label,
  );
  return made;
}

/** Copy a code, and say so on its button, too. */
export async function copyCode(code) {
  if (!(await copy(code))) return;
  const label = document.querySelector(".code > span");
  if (!label) return;
  const words = [...label.childNodes];
  if (label.dataset.copied) return;
  label.dataset.copied = "true";
  label.replaceChildren(icon("ok"), "Copied");
  setTimeout(() => {
    label.replaceChildren(...words);
    delete label.dataset.copied;
  }, 1200);
}

function actions(send) {
  const can = send.can;
  const button = (name, label, title) =>
    element(
      "button",
      {
        type: "button",
        class: "btn",
        "data-testid": name,
        "data-key": name,
        disabled: !can[name],
        title: can[name] ? title : can.why_not,
        click: () => tryToAsk("POST", `messages/${encodeURIComponent(send.sms_id)}/${name}`),
      },
      label,
    );
  return element(
    "div",
    { class: "act", role: "group", "aria-label": "Delivery" },
    element("span", {}, "Delivery"),
    button(
      "deliver",
      send.state === "held" ? "Deliver now" : "Deliver",
      "The phone gets it; the report is sent",
    ),
    button("fail", "Fail", "The phone does not get it; the report is sent"),
    button("resend", "Send the report again", "The last report is sent once more"),
  );
}

function copyable(value, name, testid) {
  return element(
    "button",
    {
      type: "button",
      class: "cp",
      title: `Copy the ${name}`,
      "data-testid": testid,
      "data-key": `${testid} ${value}`,
      click: () => copy(value, `the ${name}`),
    },
    element("code", {}, value),
    unseen(" copy"),
    icon("copy"),
  );
}

function facts(send, state) {
  const list = element("dl", { class: "facts" });
  const add = (name, ...value) => list.append(element("dt", {}, name), element("dd", {}, ...value));
  if (send.request_id !== null) add("RequestId", copyable(send.request_id, "RequestId", "request-id"));
  if (send.sms_id !== null) add("SMSID", copyable(send.sms_id, "SMSID", "sms-id"));
  if (send.route === "zalo") {
    add("Size", element("span", { "data-testid": "parts" }, `Zalo template · ${grouped(send.price)} đ`));
    add(
      "Template",
      element("code", {}, `${send.template ?? "–"}`),
      " of OA ",
      element("code", {}, `${send.oa ?? "–"}`),
    );
  } else {
    add("Size", element("span", { "data-testid": "parts" }, sizeOf(send)), forcedBy(send));
  }
  if (send.campaign_id) add("Campaign", element("span", { "data-testid": "campaign-id" }, send.campaign_id));
  if (send.send_at)
    add("SendDate", `${dateOf(Date.parse(send.send_at))}, ${secondOf(Date.parse(send.send_at))}`);
  if (state.accounts.length > 1) add("Account", send.account);
  if (send.callback_url)
    add("Callback", element("code", { "data-testid": "callback-url" }, send.callback_url));
  return list;
}

const partsOf = (count) => (count === 1 ? "1 part" : `${grouped(count)} parts`);
const sizeOf = (send) =>
  `${partsOf(send.parts)} · ${send.alphabet} · ${grouped(send.units)} of ${grouped(send.limit)} · ${grouped(send.price)} đ`;

function forcedBy(send) {
  const [odd] = send.forced_by;
  if (odd === undefined || send.parts_plain >= send.parts) return null;
  const point = odd.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  const others = send.forced_by.length > 1 ? ` and ${send.forced_by.length - 1} more` : "";
  const price = send.price_plain === send.price ? "" : `, ${grouped(send.price_plain)} đ`;
  return element(
    "span",
    { class: "size-why warn" },
    `“${odd}” (U+${point})${others} forced UCS-2. Without: ${partsOf(send.parts_plain)}, GSM-7${price}.`,
  );
}

function answerWords(request, send) {
  if (request.told)
    return `answer: ${request.told} ${request.told === "100" ? (send.state === "sandbox" ? "would be accepted" : "accepted") : (request.meaning ?? "")}`;
  if (request.status !== null) return `answer: HTTP ${request.status}`;
  if (request.decided) return `answer: ${request.decided} lost on the way`;
  return request.duration_ms === null ? "no answer yet" : "no answer";
}

function bothWays(request) {
  const took = request.duration_ms === null ? "" : `It took ${lasting(request.duration_ms)}.`;
  return [
    element(
      "pre",
      { class: "block", "data-testid": "raw", tabindex: "0", "aria-label": "What came" },
      ...marked(whole(request), request.marks, ""),
    ),
    request.answer
      ? element(
          "pre",
          { class: "block", "data-testid": "raw-answer", tabindex: "0", "aria-label": "The answer" },
          request.answer,
        )
      : element("p", { class: "mute no-answer" }, "No answer was given."),
    took ? element("p", { class: "mute no-answer" }, took) : null,
  ].filter(Boolean);
}

const whole = (request) => (request.body ? `${request.head}\n\n${request.body}` : request.head);

/** Split a text so that pieces of it stand in marks. */
function marked(text, pieces, kind) {
  const drawn = [];
  let rest = text;
  for (;;) {
    const found = pieces
      .filter(Boolean)
      .map((piece) => [rest.indexOf(piece), piece])
      .filter(([place]) => place >= 0)
      .sort(([one], [other]) => one - other)[0];
    if (!found) break;
    const [place, piece] = found;
    drawn.push(rest.slice(0, place), element("mark", { class: kind }, piece));
    rest = rest.slice(place + piece.length);
  }
  return [...drawn, rest];
}

/* ---------- lines of the timeline ---------- */

/** Join each dot on the gateway's lane to the arrow that it belongs to. */
function linesOf(steps) {
  const lines = [];
  for (const step of steps) {
    const isDot = step.kind === "accepted" || step.kind === "held";
    const last = lines.at(-1);
    if (isDot && last?.step.kind === "send" && !last.dot) last.dot = step;
    else lines.push({ step, dot: null });
  }
  return lines;
}

/** The lines that tell what became of it: first and last attempt, acceptance, delivery, last report. */
function tellingLines(lines) {
  const sends = lines.filter((line) => line.step.kind === "send");
  const reports = lines.filter((line) => line.step.kind === "report");
  const telling = new Set([
    sends[0],
    sends.at(-1),
    reports[0],
    reports.at(-1),
    ...sends.filter((line) => line.dot),
  ]);
  for (const line of [...telling]) {
    const answer = lines[lines.indexOf(line) + 1];
    if (line?.step.kind === "send" && answer?.step.kind === "answer") telling.add(answer);
  }
  for (const line of lines)
    if (["arrives", "due", "accepted", "held"].includes(line.step.kind)) telling.add(line);
  return telling;
}

function drawLine({ step, dot }) {
  if (step.kind === "accepted" || step.kind === "held")
    return element("li", { class: "step gap", "data-testid": "step" }, note(step));
  if (step.from === null)
    return element("li", { class: "step gap" }, element("span", { class: "pause" }, step.text || step.what));
  const [lane, way, who] = LANES[`${step.from} ${step.to}`];
  // What comes again is told apart, even where it was answered well.
  const isUnderWay = step.later && step.kind === "arrives";
  let tone = step.repeat && step.tone === "ok" ? "warn" : (step.tone ?? "");
  if (isUnderWay) tone = "";
  const classes = ["wire", lane, way, tone];
  if (step.struck) classes.push("cut");
  if (step.struck === "door") classes.push("door");
  if (step.later) classes.push("later");
  if (dot) classes.push("todot");
  const words = [
    step.text,
    step.kind === "report" && step.duration_ms !== null ? lasting(step.duration_ms) : "",
  ];
  const at = Date.parse(step.at);
  return element(
    "li",
    { class: "step", "data-testid": "step" },
    element(
      "span",
      { class: "t", title: `${dateOf(at)}, ${secondOf(at)}` },
      step.later ? minuteOf(at) : since(step.ms),
    ),
    element(
      "div",
      { class: classes.join(" ") },
      unseen(who),
      element("b", {}, isUnderWay ? "on its way" : step.what),
      ` ${words.filter(Boolean).join(" · ")} `,
      step.fault
        ? element("span", { class: "fault", "data-testid": "attempt-fault" }, ...breakable(step.fault))
        : null,
      step.struck ? element("span", { class: "bolt" }, icon("bolt")) : null,
    ),
    dot ? note(dot) : null,
  );
}

const note = (step) =>
  element(
    "span",
    { class: step.kind === "held" ? "note hold" : "note" },
    step.what || step.text || step.kind,
  );

/* ---------- what was not taken ---------- */

function drawNotTaken(request, row) {
  const at = Date.parse(request.at);
  const column = (title, ...content) => element("div", {}, element("h3", {}, title), ...content);
  const block = (testid, ...content) =>
    element("pre", { class: "block", tabindex: "0", "data-testid": testid }, ...content);
  const repeats = row.repeats > 1 ? ` · came ${grouped(row.repeats)} times` : "";
  return [
    element(
      "header",
      {},
      element(
        "div",
        {},
        element("h2", {}, "Not taken"),
        element(
          "p",
          { class: "sub" },
          element("code", {}, `${request.method} ${row.path_short}`),
          ` · ${dateOf(at)}, ${secondOf(at)}${repeats}`,
        ),
      ),
      element("div", { class: "tools" }, linkTo(row.link)),
    ),
    element(
      "div",
      { class: "lead" },
      element(
        "p",
        { class: "verdict bad", "data-testid": "verdict" },
        icon("not"),
        element("span", {}, request.reason),
        request.fix ? element("small", {}, request.fix) : null,
      ),
    ),
    element(
      "div",
      { class: "cmp" },
      column("What came", block("raw", ...marked(whole(request), request.marks, ""))),
      request.wanted
        ? column(
            "What would be taken",
            block("wanted", ...marked(request.wanted, request.wanted_marks ?? [], "good")),
          )
        : null,
      column(
        "The answer it got",
        request.answer
          ? block("raw-answer", request.answer)
          : element("p", { class: "mute" }, "None: the connection was closed."),
      ),
    ),
  ];
}

function missing(title, words) {
  return [
    element("header", {}, element("div", {}, element("h2", { "data-testid": "detail-phone" }, title))),
    element(
      "div",
      { class: "lead" },
      element(
        "p",
        { class: "verdict", "data-testid": "verdict" },
        icon("sand", "mute"),
        element("span", {}, words),
      ),
    ),
  ];
}
