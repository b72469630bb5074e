// The rows that the page holds: the newest of the emulator, and what a search has found beyond them.

import { ask, dayNumber } from "./dom.js";

const CHUNK = 500;
// More than this stay only where somebody has asked for older ones.
const MOST = 1000;

const FILTERS = {
  all: () => true,
  code: (row) => row.code != null,
  trouble: (row) => row.kind === "send" && row.trouble,
  not_taken: (row) => row.kind === "not_taken",
};

/** Fold case, diacritics and white space away, so that "ma xac" finds "Mã xác". */
const fold = (text) =>
  text
    .normalize("NFD")
    .replace(/\p{Mn}/gu, "")
    .replace(/[đĐ]/g, "d")
    .toLowerCase();

function matches(row, folded, digits) {
  const words = [row.phone, row.content, row.request_id, row.sms_id, row.method, row.path, row.reason];
  words.push(...Object.values(row.params ?? {}));
  return (
    fold(words.filter(Boolean).join("\n")).includes(folded) ||
    (digits !== null && (row.phone ?? "").includes(digits))
  );
}

/** Rows by their numbers, with the numbers in order, the lowest first. */
class Numbered {
  constructor() {
    this.rows = new Map();
    this.numbers = [];
  }

  put(row) {
    const { number } = row;
    if (!this.rows.has(number)) {
      let place = this.numbers.length;
      while (place > 0 && this.numbers[place - 1] > number) place -= 1;
      this.numbers.splice(place, 0, number);
    }
    this.rows.set(number, row);
  }

  drop(gone) {
    for (const number of gone) this.rows.delete(number);
    this.numbers = this.numbers.filter((number) => this.rows.has(number));
  }
}

export class Rows {
  constructor(changed) {
    this.changed = changed;
    this.filter = "all";
    this.query = "";
    // Answers to an earlier question are told by this number.
    this.search = 0;
    this.clear();
  }

  clear() {
    this.base = new Numbered();
    this.extra = new Numbered();
    this.most = MOST;
    // Whether the emulator keeps rows below those of `base`; below those that a search has found.
    this.older = false;
    this.olderFound = false;
    this.isLoading = false;
    this.search += 1;
    this.sorted = null;
  }

  get isNarrowed() {
    return this.filter !== "all" || this.query !== "";
  }

  /** Load the newest rows in the place of all; returns the id of the newest event in them. */
  async load() {
    const page = await ask("GET", `inbox?limit=${CHUNK}`);
    this.takeTop(page);
    return page.event;
  }

  /** Take the newest rows in the place of all. */
  takeTop(page) {
    this.clear();
    for (const row of page.rows.reverse()) this.base.put(date(row));
    this.older = page.older;
    if (this.isNarrowed) this.#find();
  }

  get newest() {
    return this.base.numbers.at(-1) ?? 0;
  }

  /** Take a new or changed row in; returns true where it is new. */
  put(row) {
    date(row);
    const lowest = this.base.numbers[0];
    const isNew = row.number > this.newest;
    // A row below those that are loaded comes with its neighbours, when they are asked for.
    if (lowest === undefined || row.number >= lowest || !this.older) this.base.put(row);
    if (this.extra.rows.has(row.number)) this.extra.put(row);
    this.sorted = null;
    return isNew;
  }

  trim() {
    const excess = this.base.numbers.length - this.most;
    if (excess <= 0) return;
    this.base.drop(this.base.numbers.slice(0, excess));
    this.older = true;
    this.sorted = null;
  }

  /** Forget rows that have made room in the emulator. */
  dropOlder(oldest) {
    for (const kept of [this.base, this.extra]) {
      const gone = kept.numbers.filter((number) => number < oldest[kept.rows.get(number).kind]);
      if (gone.length === 0) continue;
      kept.drop(gone);
      this.sorted = null;
    }
  }

  get(number) {
    return this.base.rows.get(number) ?? this.extra.rows.get(number) ?? null;
  }

  /** The sends to a phone, as far as they are here. */
  ofPhone(phone) {
    return phone ? [...this.base.rows.values()].filter((row) => row.phone === phone) : [];
  }

  fits(row) {
    if (!FILTERS[this.filter](row)) return false;
    return this.query === "" || matches(row, this.folded, this.digits);
  }

  /** The rows that are to be shown, the newest first. */
  get found() {
    this.sorted ??= this.#sort();
    return this.sorted;
  }

  #sort() {
    const { base, extra } = this;
    const numbers = base.numbers.concat(extra.numbers.filter((number) => !base.rows.has(number)));
    if (numbers.length > base.numbers.length) numbers.sort((one, other) => one - other);
    const rows = numbers.reverse().map((number) => this.get(number));
    if (!this.isNarrowed) return rows;
    // What the emulator has found fits, even by words that the page does not have.
    return rows.filter((row) => (extra.rows.has(row.number) ? FILTERS[this.filter](row) : this.fits(row)));
  }

  get hasOlder() {
    return this.isNarrowed ? this.olderFound : this.older;
  }

  narrow(filter, query) {
    if (filter === this.filter && query === this.query) return;
    this.filter = filter;
    this.query = query;
    this.folded = fold(query);
    const digits = this.folded.replace(/[\s.+-]/g, "");
    this.digits = /^\d{3,}$/.test(digits) ? digits.replace(/^84/, "0") : null;
    this.extra = new Numbered();
    this.olderFound = false;
    this.sorted = null;
    this.search += 1;
    // What is here is shown at once; the emulator knows what is further down.
    if (this.isNarrowed && this.older) this.#find();
  }

  /** Load what is older than the rows that are here. */
  async loadOlder() {
    if (this.isLoading || !this.hasOlder) return;
    this.isLoading = true;
    const { search } = this;
    const kept = this.isNarrowed ? this.extra : this.base;
    try {
      const page = await ask("GET", `inbox?limit=${CHUNK}${this.#question()}&before=${kept.numbers[0] ?? 0}`);
      if (search === this.search) this.#take(kept, page);
    } catch {
      // The stream notices, too, where the emulator does not answer.
    } finally {
      this.isLoading = false;
      this.changed();
    }
  }

  async #find() {
    const { search, extra } = this;
    try {
      const page = await ask("GET", `inbox?limit=${CHUNK}${this.#question()}`);
      if (search === this.search) this.#take(extra, page);
    } catch {
      // The same.
    }
    this.changed();
  }

  #question() {
    if (!this.isNarrowed) return "";
    return `&filter=${this.filter}&q=${encodeURIComponent(this.query)}`;
  }

  #take(kept, page) {
    for (const row of page.rows) kept.put(date(row));
    if (kept === this.extra) this.olderFound = page.older;
    else {
      this.older = page.older;
      this.most = Math.max(this.most, kept.numbers.length);
    }
    this.sorted = null;
  }
}

/** Read the time of a row once. */
function date(row) {
  row.time = Date.parse(row.at);
  row.day = dayNumber(row.time);
  return row;
}
