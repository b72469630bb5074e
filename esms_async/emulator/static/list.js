// The list of sends, newest first. Only some rows are in the document, however many sends there are.

import { byId, copy, element, setText, spaced, timeOf } from "./dom.js";

const STEP = 100;

export class List {
  constructor(store, onSelect) {
    this.store = store;
    this.onSelect = onSelect;
    this.rows = new Map();
    this.limit = STEP;
    this.selected = null;
    this.found = [];
    byId("more").addEventListener("click", () => this.showMore());
  }

  get query() {
    return byId("search").value;
  }

  render(now) {
    this.found = this.store.find(this.query);
    const shown = this.found.slice(0, this.limit);
    const list = byId("rows");
    const kept = new Map();
    for (const [place, send] of shown.entries()) {
      const row = this.rows.get(send.key) ?? new Row(send, this);
      kept.set(send.key, row);
      row.update(send, now, send.key === this.selected, this.#isReachable(send, place));
      if (list.children[place] !== row.node) list.insertBefore(row.node, list.children[place] ?? null);
    }
    while (list.children.length > shown.length) list.lastChild.remove();
    this.rows = kept;

    const count = this.found.length;
    byId("more").hidden = count <= shown.length;
    setText(byId("more"), `Show older (${count - shown.length})`);
    byId("empty").hidden = this.store.sends.size > 0;
    document.body.classList.toggle("none", this.store.sends.size === 0);
    setText(byId("found"), this.query.trim() ? `${count} found` : "");
  }

  /** Tab reaches the selected row, or the first; j and k reach the others. */
  #isReachable(send, place) {
    const isShown = this.found.slice(0, this.limit).some((each) => each.key === this.selected);
    return isShown ? send.key === this.selected : place === 0;
  }

  showMore() {
    this.limit += STEP;
    this.onSelect(this.selected);
  }

  reset() {
    this.limit = STEP;
  }

  /** Select the send that is some places further down. */
  move(by) {
    if (!this.found.length) return;
    const place = this.found.findIndex((send) => send.key === this.selected);
    const next = place < 0 ? 0 : Math.min(Math.max(place + by, 0), this.found.length - 1);
    while (next >= this.limit) this.limit += STEP;
    this.onSelect(this.found[next].key);
    const row = this.rows.get(this.found[next].key);
    row?.main.focus();
    row?.node.scrollIntoView({ block: "nearest" });
  }
}

class Row {
  constructor(send, list) {
    this.version = -1;
    this.phone = element("span", { class: "phone", "data-testid": "phone" });
    this.time = element("time", { class: "time" });
    this.text = element("span", { class: "text", "data-testid": "text" });
    this.state = element("span", { class: "state", "data-testid": "state" });
    this.badges = element("span", { class: "badges", "data-testid": "badges" });
    this.main = element(
      "button",
      { type: "button", class: "main", "data-testid": "open", click: () => list.onSelect(send.key, { open: true }) },
      element("span", { class: "line" }, this.phone, this.time),
      this.text,
      element("span", { class: "line" }, this.state, this.badges),
    );
    this.code = element("button", {
      type: "button",
      class: "code",
      "data-testid": "otp",
      title: "Copy",
      click: () => copy(this.code.textContent, this.code.textContent),
    });
    this.node = element("li", { "data-testid": "row" }, this.code, this.main);
  }

  update(send, now, isSelected, isReachable) {
    const state = send.stateAt(now);
    setText(this.state, state.word);
    this.state.dataset.tone = state.tone;
    this.node.classList.toggle("selected", isSelected);
    if (isSelected) this.main.setAttribute("aria-current", "true");
    else this.main.removeAttribute("aria-current");
    this.main.tabIndex = this.code.tabIndex = isReachable ? 0 : -1;
    if (this.version === send.version) return;
    this.version = send.version;
    const otp = send.message?.otp ?? null;
    setText(this.phone, spaced(send.phone));
    setText(this.time, timeOf(send.at));
    this.time.dateTime = this.time.title = send.at;
    setText(this.text, send.content);
    setText(this.code, otp ?? "");
    this.code.hidden = otp === null;
    this.node.classList.toggle("has-code", otp !== null);
    this.node.classList.toggle("has-long-code", (otp?.length ?? 0) > 6);
    this.code.setAttribute("aria-label", `Copy the code ${otp}`);
    this.node.dataset.requestId = send.requestId ?? "";
    this.badges.replaceChildren(...send.badges().map(badge));
  }
}

export const badge = ({ kind, tone, text }) =>
  element("span", { class: "badge", "data-testid": `badge-${kind}`, "data-tone": tone }, text);
