// The list of rows, newest first. Only those in sight are in the document, and each is drawn once.

import {
  addressOf,
  ago,
  byId,
  copy,
  dateOf,
  dayWords,
  element,
  grouped,
  icon,
  secondOf,
  setAttribute,
  setText,
  spaced,
  unseen,
} from "./dom.js";

const ROW = 56;
const DAY = 24;
const SPARE = 6;
const LONGEST_TEXT = 200;
const MOST_MOVING = 3;
export const ICONS = { ok: "ok", bad: "bad", warn: "warn", wait: "wait", mute: "sand" };
/** The colour of a tone: what waits is amber, too. */
export const colourOf = (tone) => (tone === "wait" ? "warn" : tone);
const FILTERS = { all: "All", code: "Codes", trouble: "Trouble", not_taken: "Not taken" };
const FILTER_IDS = { all: "all", code: "code", trouble: "trouble", not_taken: "nt" };

export class List {
  constructor(rows, { select, narrow }) {
    this.rows = rows;
    this.select = select;
    this.selected = null;
    this.drawn = new Map();
    this.days = [];
    this.found = [];
    this.arrivals = new Set();
    this.height = 0;
    this.firstAccount = null;
    this.scroller = byId("scroller");
    this.node = byId("rows");
    this.filters = Object.keys(FILTERS).map((name) => new Filter(name, () => narrow(name)));
    byId("filters").append(...this.filters.map((filter) => filter.node));
    this.node.addEventListener("click", (event) => this.#onClick(event));
    byId("older").addEventListener("click", () => rows.loadOlder());
    this.scroller.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    new ResizeObserver(() => {
      this.height = this.scroller.clientHeight;
      this.#place();
    }).observe(this.scroller);
  }

  /** Draw what has changed. */
  render(now, { counts, pruned }) {
    const anchor = this.#anchor();
    this.now = now;
    this.found = this.rows.found;
    this.#findDays();
    const { length } = this.found;
    this.node.style.height = `${length * ROW + this.days.length * DAY}px`;
    if (anchor) this.#holdOn(anchor);
    this.#place();
    for (const filter of this.filters) filter.update(counts, this.rows.filter);
    byId("none").hidden = length > 0;
    setText(
      byId("none"),
      counts.all ? "Nothing fits. Esc clears the search." : "Nothing yet. This page fills by itself.",
    );
    this.#showEnd(counts, pruned);
  }

  #showEnd(counts, pruned) {
    const { rows } = this;
    const button = byId("older");
    const left = counts.all - this.found.length;
    const hasOlder = rows.hasOlder && (rows.isNarrowed || left > 0);
    button.hidden = !hasOlder;
    const words = rows.isNarrowed ? "Show older" : `Show older (${grouped(left)})`;
    setText(button, rows.isLoading ? "Loading…" : words);
    byId("pruned").hidden = !pruned || hasOlder || rows.isNarrowed;
    setText(
      byId("pruned"),
      `${grouped(pruned)} older ${pruned === 1 ? "row" : "rows"} made room for newer ones.`,
    );
  }

  /** Where each day begins: the place of its newest row. */
  #findDays() {
    this.days = [];
    let day = null;
    for (let place = 0; place < this.found.length; place += 1) {
      if (this.found[place].day !== day) {
        day = this.found[place].day;
        this.days.push(place);
      }
    }
  }

  #dayOf(place) {
    let found = 0;
    while (found + 1 < this.days.length && this.days[found + 1] <= place) found += 1;
    return found;
  }

  #topOf(place) {
    return place * ROW + (this.#dayOf(place) + 1) * DAY;
  }

  /** The place of the row at a height. */
  #placeAt(top) {
    let place = Math.floor(top / ROW);
    while (place > 0 && this.#topOf(Math.min(place, this.found.length - 1)) > top) place -= 1;
    return Math.max(0, Math.min(place, this.found.length - 1));
  }

  /** The row that stands first, where somebody has scrolled to it. */
  #anchor() {
    const { scrollTop } = this.scroller;
    if (scrollTop <= 0 || !this.found.length) return null;
    const place = this.#placeAt(scrollTop);
    return { number: this.found[place].number, offset: scrollTop - this.#topOf(place) };
  }

  /** Keep that row where it was, whatever has come above it. */
  #holdOn({ number, offset }) {
    const place = this.#placeOf(number);
    if (place < 0) return;
    const top = this.#topOf(place) + offset;
    if (Math.abs(top - this.scroller.scrollTop) > 0.5) this.scroller.scrollTop = top;
  }

  /** Binary search: the numbers fall from place to place. */
  #placeOf(number) {
    let low = 0;
    let high = this.found.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const { number: other } = this.found[middle];
      if (other === number) return middle;
      if (other > number) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  /** Put the rows in sight into the document, and the one that is selected or focused. */
  #place() {
    const { scrollTop } = this.scroller;
    const wanted = new Set();
    const { length } = this.found;
    if (length) {
      const first = Math.max(0, this.#placeAt(scrollTop) - SPARE);
      const last = Math.min(length - 1, this.#placeAt(scrollTop + this.height) + SPARE);
      for (let place = first; place <= last; place += 1) wanted.add(place);
      const focused = document.activeElement?.closest?.("#rows > [data-number]");
      for (const number of [this.selected, focused && Number(focused.dataset.number)]) {
        const place = number == null ? -1 : this.#placeOf(number);
        if (place >= 0) wanted.add(place);
      }
    }
    // Of many at once, none is shown to move.
    const isCalm = this.arrivals.size <= MOST_MOVING;
    const kept = new Map();
    const nodes = [];
    const isSelectedHere = this.selected !== null && this.#placeOf(this.selected) >= 0;
    let day = -1;
    for (const place of [...wanted].sort((one, other) => one - other)) {
      const row = this.found[place];
      const { number } = row;
      const view = this.drawn.get(number) ?? new Row(row, this.firstAccount);
      const isSelected = number === this.selected;
      view.update(
        row,
        this.now,
        isSelected,
        isSelectedHere ? isSelected : place === 0,
        isCalm && this.arrivals.has(number),
      );
      view.move(this.#topOf(place), place + 1, this.rows.hasOlder ? -1 : length);
      kept.set(number, view);
      const here = this.#dayOf(place);
      if (here !== day) {
        day = here;
        nodes.push(this.#dayNode(here, kept));
      }
      nodes.push(view.node);
    }
    this.arrivals.clear();
    // Whoever stays is not taken out of the document, and keeps focus and selection.
    const staying = new Set(nodes);
    for (const node of [...this.node.children]) if (!staying.has(node)) node.remove();
    for (const [place, node] of nodes.entries()) {
      if (this.node.children[place] !== node) this.node.insertBefore(node, this.node.children[place] ?? null);
    }
    this.drawn = kept;
    const pinned = byId("pinned");
    pinned.hidden = !length;
    if (length) setText(pinned, dayWords(this.found[this.#placeAt(scrollTop)].time, this.now));
  }

  #dayNode(day, kept) {
    const row = this.found[this.days[day]];
    const key = `day ${row.day}`;
    const view = this.drawn.get(key) ?? { node: element("li", { class: "day" }) };
    setText(view.node, dayWords(row.time, this.now));
    view.node.style.transform = `translateY(${this.#topOf(this.days[day]) - DAY}px)`;
    kept.set(key, view);
    return view.node;
  }

  /** Tell what has just come, to be shown as it comes in. */
  noteArrival(number) {
    this.arrivals.add(number);
  }

  #onScroll() {
    this.#place();
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    if (scrollHeight - scrollTop - clientHeight < 4 * ROW) this.rows.loadOlder();
  }

  #onClick(event) {
    const item = event.target.closest("[data-number]");
    if (!item || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (event.target.closest(".pick")) copy(event.target.closest(".pick").textContent);
    else this.select(this.rows.get(Number(item.dataset.number)));
  }

  /** Select the row that is some places further down. */
  move(by) {
    if (!this.found.length) return;
    const place = this.selected === null ? -1 : this.#placeOf(this.selected);
    const next = place < 0 ? 0 : Math.min(Math.max(place + by, 0), this.found.length - 1);
    if (place + by >= this.found.length) this.rows.loadOlder();
    this.select(this.found[next], { byKey: true });
  }

  /** Scroll the selected row into sight, and focus it where the keyboard has led there. */
  reveal({ focus = false } = {}) {
    const place = this.selected === null ? -1 : this.#placeOf(this.selected);
    if (place < 0) return;
    const top = this.#topOf(place);
    const { scrollTop } = this.scroller;
    if (place === 0) this.scroller.scrollTop = 0;
    else if (top - DAY < scrollTop) this.scroller.scrollTop = top - DAY;
    else if (top + ROW > scrollTop + this.height) this.scroller.scrollTop = top + ROW - this.height;
    this.#place();
    if (focus) this.drawn.get(this.selected)?.link.focus({ preventScroll: true });
  }
}

class Filter {
  constructor(name, choose) {
    this.name = name;
    this.count = element("span", { class: "n num" });
    this.node = element(
      "button",
      { type: "button", "data-testid": `filter-${FILTER_IDS[name]}`, "aria-pressed": "false", click: choose },
      `${FILTERS[name]} `,
      this.count,
    );
  }

  update(counts, chosen) {
    const count = counts[this.name];
    setText(this.count, this.name === "not_taken" ? `(${grouped(count)})` : grouped(count));
    this.count.classList.toggle("bad", this.name === "not_taken" && count > 0);
    setAttribute(this.node, "aria-pressed", String(this.name === chosen));
  }
}

/** One row: made once, and then changed only where it differs. */
class Row {
  constructor(row, firstAccount) {
    this.row = null;
    this.firstAccount = firstAccount;
    this.isSend = row.kind === "send";
    this.head = element("b");
    this.from = element("span");
    this.who = element("span", { class: "who" }, this.head, this.from);
    this.time = element("time");
    this.text = element("span", { class: "txt", "data-testid": this.isSend ? "text" : "reason" });
    this.slot = element("span", { class: "slot" });
    this.link = element(
      "a",
      { class: "row", "data-testid": this.isSend ? "open" : "not-taken", href: addressOf(row.link) },
      this.who,
      this.time,
      this.text,
      this.slot,
    );
    this.node = element(
      "li",
      { "data-testid": this.isSend ? "row" : null, "data-number": row.number },
      this.link,
    );
    this.pick = null;
    this.top = null;
  }

  move(top, place, length) {
    setAttribute(this.node, "aria-posinset", String(place));
    setAttribute(this.node, "aria-setsize", String(length));
    if (this.top === top) return;
    this.top = top;
    this.node.style.transform = `translateY(${top}px)`;
  }

  update(row, now, isSelected, isReachable, isNew) {
    setAttribute(this.link, "aria-current", isSelected ? "true" : null);
    this.link.tabIndex = isReachable ? 0 : -1;
    setText(this.time, ago(row.time, now));
    if (isNew) this.link.classList.add("new");
    if (this.row === row) return;
    this.row = row;
    this.link.href = addressOf(row.link);
    this.time.dateTime = row.at;
    this.time.title = `${dateOf(row.time)} ${secondOf(row.time)}`;
    this.icon?.remove();
    this.icon = icon(this.isSend ? ICONS[row.tone] : "not", colourOf(row.tone));
    this.link.prepend(this.icon);
    if (this.isSend) this.#drawSend(row);
    else this.#drawNotTaken(row);
  }

  #drawNotTaken(row) {
    setText(this.head, row.method);
    setText(this.from, row.path_short);
    setText(this.text, row.reason);
    setText(this.slot, row.repeats > 1 ? `not taken ×${grouped(row.repeats)}` : "not taken");
    this.slot.className = "slot bad";
  }

  #drawSend(row) {
    setText(this.head, row.phone_shown || spaced(row.phone));
    setText(this.from, row.account === this.firstAccount ? row.sender : `${row.account} · ${row.sender}`);
    setText(this.text, textOf(row).slice(0, LONGEST_TEXT));
    this.who.replaceChildren(this.head, this.from, ...marksOf(row));
    const state = element("span", { "data-testid": "state" }, row.word);
    // The code of a message that did not come is of no use.
    const code = row.tone === "bad" ? null : row.code;
    if (code !== null || row.word === "delivered") state.className = "vh";
    this.slot.className = `slot ${code === null ? colourOf(row.tone) : ""}`;
    this.slot.replaceChildren(state);
    if (code === null) {
      this.pick?.remove();
      this.pick = null;
      return;
    }
    // A button can't stand inside a link; the link leaves room for it.
    this.slot.append(element("code", { class: "room", "aria-hidden": "true" }, code));
    this.pick ??= element("button", {
      type: "button",
      class: "pick",
      tabindex: "-1",
      "data-testid": "otp",
      title: "Copy",
    });
    setText(this.pick, code);
    setAttribute(this.pick, "aria-label", `Copy the code ${code}`);
    if (!this.pick.isConnected) this.node.append(this.pick);
  }
}

/** What a row says of a message: its text, or the values of its template. */
export const textOf = (row) =>
  row.route === "zalo"
    ? [`Template ${row.template}`, ...Object.values(row.params ?? {})].join(" · ")
    : row.content;

function marksOf(row) {
  const hasFault = row.marks.includes("fault");
  const marks = [];
  if (row.marks.includes("dedup") && !hasFault) {
    // Asked for twice without need; after a fault, the retry is what counts.
    marks.push(mark("deduplicated", "deduplicated: answered 124", icon("copy"), "124"));
  } else if (row.marks.includes("retry")) {
    const count = grouped(row.attempts - 1);
    marks.push(mark("retried", `retried ${count}×`, icon("redo"), count, unseen(" retried")));
  }
  if (hasFault) marks.push(mark("fault", "a fault struck", icon("bolt"), unseen("fault")));
  return marks;
}

const mark = (kind, title, ...children) =>
  element("em", { "data-testid": `badge-${kind}`, title }, ...children);
