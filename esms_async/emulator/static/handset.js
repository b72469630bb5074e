// The handset: the thread of the phone that the selected message went to, as its owner would see it.

import {
  ask,
  byId,
  copy,
  dateOf,
  dayNumber,
  element,
  grouped,
  icon,
  minuteOf,
  nearDay,
  oneAtATime,
  setText,
  spaced,
} from "./dom.js";

const MOST_BUBBLES = 30;
const LONGEST_TEXT = 3000;
const MOST_PARAMS = 8;
const LONG_VALUE = 18;
// Where one number follows another, their threads are asked for once in this time, in milliseconds.
const PAUSE = 500;
// What is no phone can't be asked for.
const PHONE = /^0\d{9}$/;

export class Handset {
  constructor({ now, known, hasMore }) {
    this.now = now;
    this.known = known;
    this.hasMore = hasMore;
    this.thread = byId("thread");
    // Nothing is drawn yet, not even the locked phone.
    this.row = undefined;
    this.phone = null;
    this.rows = new Map();
    this.hasEarlier = false;
    // Whether the rows of the thread may have changed without a word.
    this.isStale = false;
    this.drawn = "";
    this.unfolded = new Set();
    this.load = oneAtATime(() => this.#load());
  }

  /** Show the phone of a send; null locks it. */
  show(row) {
    if (row === this.row) return;
    this.row = row;
    byId("lock").hidden = row !== null;
    for (const id of ["appbar", "thread", "fill"]) byId(id).hidden = row === null;
    byId("device").setAttribute(
      "aria-label",
      row === null ? "Empty phone, emulated" : `Phone ${row.phone_shown || spaced(row.phone)}, emulated`,
    );
    if (row === null) {
      this.phone = null;
      return;
    }
    if (row.phone !== this.phone || !row.phone) {
      this.phone = row.phone;
      this.rows.clear();
      this.unfolded.clear();
      this.hasEarlier = false;
      // What the page holds is shown at once; the emulator may know more.
      for (const each of this.known(row.phone)) this.put(each);
      if (this.hasMore() && PHONE.test(row.phone)) this.load();
    }
    this.#take(row);
    this.#draw();
  }

  /** Forget the thread: what stands in it is of an emulator that may be another one now. */
  forget() {
    this.phone = null;
  }

  /** Take a row in that has come or changed meanwhile. */
  put(row) {
    if (row.kind === "send" && row.phone && row.phone === this.phone) this.#take(row);
  }

  /** Load the thread again: more came than the page knows. */
  refresh() {
    if (!PHONE.test(this.phone ?? "")) return;
    this.isStale = true;
    this.load();
  }

  #take(row) {
    this.rows.set(row.number, row);
    if (this.rows.size <= MOST_BUBBLES) return;
    const others = [...this.rows.keys()].filter((number) => number !== this.row.number);
    this.rows.delete(Math.min(...others));
    this.hasEarlier = true;
  }

  async #load() {
    const { phone, isStale } = this;
    if (!phone) return;
    this.isStale = false;
    try {
      const found = await ask("GET", `inbox?phone=${encodeURIComponent(phone)}&limit=${MOST_BUBBLES}`);
      if (this.phone !== phone) return;
      // An event may have told something newer meanwhile.
      for (const row of found.rows) if (isStale || !this.rows.has(row.number)) this.put(row);
      this.hasEarlier ||= found.older;
      this.#draw();
    } catch {
      // What the page holds is shown.
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }

  /** Draw again what the clock or a change of the thread has made different. */
  render() {
    const now = this.now();
    setText(byId("phone-time"), minuteOf(now));
    setText(byId("lock-time"), minuteOf(now));
    setText(byId("lock-date"), dateOf(now));
    if (this.row != null) this.#draw();
  }

  #draw() {
    const now = this.now();
    const rows = [...this.rows.values()].sort((one, other) => one.number - other.number).slice(-MOST_BUBBLES);
    const key = JSON.stringify([
      this.row.number,
      dayNumber(now),
      [...this.unfolded],
      rows.map((row) => [row.number, row.state, row.word, row.ghost, row.warning]),
    ]);
    if (key === this.drawn) return;
    this.drawn = key;
    setText(byId("phone-number"), this.row.phone_shown || spaced(this.row.phone));
    setText(byId("phone-operator"), `${this.row.operator ?? "Unknown"} number · emulated`);
    const items = [];
    if (this.hasEarlier) items.push(element("li", { class: "when" }, "Earlier messages are in the list"));
    let day = null;
    for (const row of rows) {
      const at = Date.parse(row.at);
      const here = dayNumber(at);
      const words = here === day ? minuteOf(at) : `${nearDay(at, now) || dateOf(at)} · ${minuteOf(at)}`;
      day = here;
      items.push(
        element("li", { class: "when" }, words),
        element("li", { class: "from" }, row.sender),
        this.#bubble(row),
        meta(row),
      );
    }
    this.thread.replaceChildren(...items.filter(Boolean));
    this.#drawFill();
    const current = this.thread.querySelector("[aria-current]");
    if (current)
      this.thread.scrollTop = current.offsetTop + current.offsetHeight - this.thread.clientHeight + 80;
  }

  #drawFill() {
    const { code, ghost } = this.row;
    byId("fill").replaceChildren(
      code !== null && ghost === null
        ? element(
            "button",
            { type: "button", "data-testid": "fill", click: () => copy(code) },
            icon("copy"),
            `Copy ${code}`,
          )
        : element("span", {}, "Nobody can reply to this sender"),
    );
  }

  #bubble(row) {
    const attributes = {
      class: `bubble${row.ghost ? " ghost" : ""}${row.route === "zalo" ? " zalo" : ""}`,
      "data-testid": "bubble",
      "aria-current": row.number === this.row.number ? "true" : null,
    };
    return element("li", attributes, row.route === "zalo" ? this.#card(row) : textOf(row));
  }

  /** A template with its values; of many values the first, until somebody asks for all. */
  #card(row) {
    const params = Object.entries(row.params ?? {});
    const isCut = params.length > MOST_PARAMS + 1 && !this.unfolded.has(row.number);
    const shown = isCut ? params.slice(0, MOST_PARAMS) : params;
    const list = element(
      "dl",
      {},
      shown
        .map(([name, value]) => [
          element("dt", {}, name),
          element(
            "dd",
            { class: String(value).length > LONG_VALUE ? "long" : null },
            String(value).slice(0, LONGEST_TEXT),
          ),
        ])
        .flat(),
    );
    const all = () => {
      this.unfolded.add(row.number);
      this.#draw();
      this.thread.focus({ preventScroll: true });
    };
    return [
      element("p", { class: "oa" }, `Official Account ${row.oa ?? ""}`),
      list,
      isCut
        ? element(
            "button",
            { type: "button", class: "all", "data-testid": "all-params", click: all },
            `${params.length - MOST_PARAMS} more values`,
          )
        : null,
    ];
  }
}

function meta(row) {
  if (row.ghost) return element("li", { class: "meta" }, row.ghost);
  if (row.route === "zalo") return null;
  if (row.warning) return element("li", { class: "meta warn" }, row.warning);
  if (row.forced_by.length && row.parts > row.parts_plain)
    return element(
      "li",
      { class: "meta warn" },
      `“${row.forced_by[0]}” forced UCS-2: ${row.parts} parts, not ${row.parts_plain}`,
    );
  return null;
}

/** The text with its parts numbered, what forced UCS-2 marked, and the code told apart. */
function textOf(row) {
  const points = [...row.content].slice(0, LONGEST_TEXT);
  const starts =
    row.parts > 1 ? new Map(row.part_starts.map((start, place) => [start, place + 1])) : new Map();
  const odd = row.parts > row.parts_plain && row.forced_by.length <= 2 ? new Set(row.forced_by) : new Set();
  const spelled = row.code_spelled ? [...row.code_spelled] : [];
  const codeAt = spelled.length
    ? [...row.content.slice(0, row.content.indexOf(row.code_spelled))].length
    : -1;
  const drawn = [];
  let kind = "";
  let run = "";
  const endRun = () => {
    if (run)
      drawn.push(
        kind === "otp"
          ? element("span", { class: "otp" }, run)
          : kind === "odd"
            ? element("mark", { title: "forced UCS-2" }, run)
            : run,
      );
    run = "";
  };
  for (const [place, point] of points.entries()) {
    const here =
      codeAt >= 0 && place >= codeAt && place < codeAt + spelled.length ? "otp" : odd.has(point) ? "odd" : "";
    if (here !== kind || starts.has(place)) endRun();
    kind = here;
    if (starts.has(place)) drawn.push(element("span", { class: "pt" }, `${starts.get(place)}/${row.parts}`));
    run += point;
  }
  endRun();
  const left = row.content.length - points.join("").length;
  if (left > 0) drawn.push(element("em", {}, `… ${grouped(left)} more characters`));
  return drawn;
}
