// What is set from the page: faults, the clock, and the account.

import {
  ask,
  baseUrlOf,
  breakable,
  byId,
  copy,
  dateOf,
  element,
  explain,
  grouped,
  minuteOf,
  secondOf,
  setAttribute,
  setText,
  toast,
  tryToAsk,
  unseen,
} from "./dom.js";

const HOUR = 3600;
const FULL = 1_000_000_000;
const REMEMBERED = "esms-faults";

/* ---------- faults ---------- */

export class Faults {
  constructor() {
    this.node = byId("drawer");
    this.drawn = "";
    this.hasPresets = false;
    byId("arm").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#armWritten();
    });
    byId("spec").addEventListener("input", () => complain("spec", "spec-error", ""));
    byId("faults-open").addEventListener("click", () => this.toggle());
    byId("faults-close").addEventListener("click", () => this.toggle(false));
    byId("disarm-all").addEventListener("click", () => tryToAsk("DELETE", "faults"));
    byId("reset").addEventListener("click", () => tryToAsk("POST", "reset"));
    if (recall()) this.#show(true);
  }

  get isOpen() {
    return !this.node.hidden;
  }

  toggle(isOpen = !this.isOpen) {
    this.#show(isOpen);
    try {
      localStorage.setItem(REMEMBERED, isOpen ? "open" : "");
    } catch {
      // Without storage, the drawer is closed at first each time.
    }
    (isOpen ? byId("faults-close") : byId("faults-open")).focus();
  }

  #show(isOpen) {
    this.node.hidden = !isOpen;
    setAttribute(byId("faults-open"), "aria-expanded", String(isOpen));
    if (isOpen) this.#loadPresets();
  }

  async #loadPresets() {
    if (this.hasPresets) return;
    this.hasPresets = true;
    try {
      const { presets } = await ask("GET", "faults");
      byId("presets").replaceChildren(
        ...presets.map(({ name, spec }) =>
          element(
            "button",
            {
              type: "button",
              title: spec,
              "data-testid": "preset",
              click: () => this.#arm("faults", { spec }),
            },
            name,
          ),
        ),
      );
    } catch {
      this.hasPresets = false;
    }
  }

  render({ faults, spent }) {
    if (this.isOpen) this.#loadPresets();
    const drawn = JSON.stringify([faults, spent]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const count = byId("fault-count");
    setText(count, String(faults.length));
    count.hidden = !faults.length;
    setAttribute(
      byId("faults-open"),
      "aria-label",
      faults.length ? `Faults, ${faults.length} armed` : "Faults, none armed",
    );
    byId("disarm-all").disabled = !faults.length && !spent.length;
    const focused = document.activeElement?.dataset.fault;
    const none = element("li", { class: "mute" }, "Nothing is armed.");
    byId("armed").replaceChildren(...(faults.length ? faults.map((fault) => this.#row(fault)) : [none]));
    const folded = byId("spent");
    folded.hidden = !spent.length;
    setText(folded.querySelector("summary"), `${spent.length} spent`);
    folded.querySelector("ul").replaceChildren(...spent.map((fault) => this.#row(fault)));
    if (focused) (this.node.querySelector(`[data-fault="${CSS.escape(focused)}"]`) ?? byId("spec")).focus();
  }

  #row(fault) {
    const { number, spec, name, used, left } = fault;
    const rest = fault.spent ? "spent" : left === null ? "no limit" : `${grouped(left)} left`;
    const word = fault.spent ? "Arm again" : "Disarm";
    const act = () =>
      fault.spent ? this.#arm(`faults/${number}/again`) : tryToAsk("DELETE", `faults/${number}`);
    return element(
      "li",
      { "data-testid": "fault" },
      name ? element("span", {}, name) : null,
      element("code", {}, breakable(spec)),
      element("small", { "data-testid": "fault-left" }, `used ${grouped(used)}× · ${rest}`),
      element(
        "button",
        {
          type: "button",
          class: "btn",
          "data-testid": fault.spent ? "again" : "disarm",
          "data-fault": number,
          click: act,
        },
        word,
        unseen(` ${spec}`),
      ),
    );
  }

  async #arm(path, body) {
    if (await tryToAsk("POST", path, body)) toast("Armed");
  }

  async #armWritten() {
    try {
      await ask("POST", "faults", { spec: byId("spec").value });
      byId("spec").value = "";
      complain("spec", "spec-error", "");
    } catch (error) {
      complain("spec", "spec-error", explain(error));
    }
  }
}

function recall() {
  try {
    return localStorage.getItem(REMEMBERED) === "open";
  } catch {
    return false;
  }
}

/** Say under a field what is wrong with it. */
function complain(field, place, words) {
  setText(byId(place), words);
  setAttribute(byId(field), "aria-invalid", words ? "true" : null);
}

/* ---------- popovers ---------- */

/** Open a popover under its button, one at a time. */
export class Popovers {
  constructor() {
    this.all = [
      [byId("clock-open"), byId("clock-pop")],
      [byId("account-open"), byId("account-pop")],
    ];
    for (const [button, node] of this.all) {
      button.addEventListener("click", () => {
        const isOpening = node.hidden;
        this.close();
        if (isOpening) this.#open(button, node);
      });
    }
    document.addEventListener("click", (event) => {
      if (!event.target.closest(".pop, #clock-open, #account-open")) this.close();
    });
  }

  #open(button, node) {
    node.hidden = false;
    node.style.right = `${Math.max(12, innerWidth - button.getBoundingClientRect().right)}px`;
    setAttribute(button, "aria-expanded", "true");
  }

  /** Close what is open; returns the button that had opened it, or null. */
  close() {
    let opener = null;
    for (const [button, node] of this.all) {
      if (!node.hidden) opener = button;
      node.hidden = true;
      setAttribute(button, "aria-expanded", "false");
    }
    return opener;
  }
}

/* ---------- clock ---------- */

export class ClockChip {
  constructor() {
    this.offset = 0;
    this.isRunning = true;
    this.shift = 0;
    this.isMoving = false;
    byId("advance").addEventListener("click", () =>
      tryToAsk("POST", "clock/advance", { seconds: 24 * HOUR }),
    );
    const slider = byId("shift");
    slider.addEventListener("input", () => {
      this.isMoving = true;
      this.render();
    });
    slider.addEventListener("change", async () => {
      const shift = Number(slider.value) * HOUR;
      if (shift > this.shift) await tryToAsk("PATCH", "state", { clock: { shift } });
      this.isMoving = false;
      this.render();
    });
  }

  /** The emulator's time in milliseconds. */
  now() {
    return this.isRunning ? performance.now() + this.offset : this.offset;
  }

  take(clock) {
    this.isRunning = clock.running;
    this.offset = Date.parse(clock.now) - (clock.running ? performance.now() : 0);
    this.shift = clock.shift;
    this.render();
  }

  render() {
    const now = this.now();
    // A few seconds are the machine's own clock being set, not somebody's wish.
    const ahead = Math.abs(this.shift) >= 30 ? hoursAhead(this.shift) : "";
    const isShifted = ahead !== "" || !this.isRunning;
    byId("clock").toggleAttribute("data-shifted", isShifted);
    const chip = byId("clock-now");
    const minute = minuteOf(now);
    const parts = isShifted
      ? [
          ["s", `${dateOf(now)}, `],
          ["d", `${dateOf(now).slice(0, 3)} `],
          ["", minute],
          ["x", ` · ${this.isRunning ? ahead : "stopped"}`],
          ["s", this.isRunning ? " ahead" : ""],
        ]
      : [
          ["", minute],
          ["s", secondOf(now).slice(5)],
        ];
    if (chip.children.length !== parts.length) chip.replaceChildren(...parts.map(() => element("span")));
    for (const [place, [name, text]] of parts.entries()) {
      chip.children[place].className = name;
      setText(chip.children[place], text);
    }
    if (!byId("clock-pop").hidden || this.isMoving) this.#renderSlider(now, ahead);
    else this.#placeSlider();
  }

  #placeSlider() {
    const hours = Math.max(0, this.shift / HOUR);
    const most = Math.max(48, Math.ceil((hours + 1) / 48) * 48);
    const slider = byId("shift");
    setAttribute(slider, "max", String(most));
    if (!this.isMoving) slider.value = String(Math.round(hours));
    setText(byId("tick-half"), most === 48 ? "24 h: RequestIds are free" : `${most / 2} h`);
    setText(byId("tick-full"), `${most} h`);
  }

  #renderSlider(now, ahead) {
    this.#placeSlider();
    const wanted = Number(byId("shift").value) * HOUR;
    let words = `${dateOf(now)}, ${secondOf(now)} in Vietnam: ${ahead ? `${ahead} ahead of real time` : "real time"}.`;
    if (!this.isRunning)
      words = `${dateOf(now)}, ${secondOf(now)} in Vietnam. The clock stands still until it is moved.`;
    if (this.isMoving) {
      const then = now + (wanted - this.shift) * 1000;
      words = wanted > this.shift ? `To ${dateOf(then)}, ${minuteOf(then)}.` : "The clock does not go back.";
    }
    setText(byId("clock-say"), words);
    setAttribute(byId("shift"), "aria-valuetext", `${Number(byId("shift").value)} hours ahead`);
  }
}

function hoursAhead(seconds) {
  const sign = seconds < 0 ? "−" : "+";
  const minutes = Math.round(Math.abs(seconds) / 60);
  if (minutes < 60) return `${sign}${minutes} min`;
  return minutes % 60 < 2 || minutes % 60 > 58
    ? `${sign}${Math.round(minutes / 60)} h`
    : `${sign}${(minutes / 60).toFixed(1)} h`;
}

/* ---------- account ---------- */

export class Account {
  constructor() {
    this.state = null;
    this.name = null;
    const field = byId("balance-input");
    byId("which").addEventListener("change", (event) => {
      this.name = event.target.value;
      complain("balance-input", "account-error", "");
      this.render(this.state, { isOther: true });
    });
    byId("balance-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#setBalance(field.value);
    });
    field.addEventListener("change", () => this.#setBalance(field.value));
    byId("balance-none").addEventListener("click", () => this.#setBalance("0"));
    byId("balance-one").addEventListener("click", () => this.#setBalance(String(this.#price())));
    byId("balance-full").addEventListener("click", () => this.#setBalance(String(FULL)));
    byId("account-state").addEventListener("change", (event) => this.#patch({ state: event.target.value }));
    for (const button of ["copy-url", "copy-url-too"])
      byId(button).addEventListener("click", () => copy(baseUrlOf(this.state), "the base URL"));
  }

  #price() {
    return this.state.settings?.price ?? 850;
  }

  get #chosen() {
    const { accounts } = this.state;
    return accounts.find((account) => account.name === this.name) ?? accounts[0];
  }

  render(state, { isOther = false } = {}) {
    this.state = state;
    const account = this.#chosen;
    const { accounts } = state;
    const url = baseUrlOf(state);
    // A narrow header shows where it is alone: with the folder of a proxy, if there is one.
    const path = new URL(state.url).pathname;
    setText(byId("url").firstElementChild, url.slice(0, -path.length));
    setText(byId("url").lastElementChild, path);
    setText(byId("copy-url-too").querySelector("code"), url.replace(/^https?:\/\//, ""));

    const words = account.code
      ? `${account.code} ${account.state.replaceAll("_", " ")}`
      : `${grouped(account.balance)} đ`;
    setText(byId("balance"), accounts.length > 1 ? `${account.name} · ${words}` : words);
    byId("account-open").classList.toggle("alarm", account.code !== null || account.balance < this.#price());

    byId("which-field").hidden = accounts.length < 2;
    fill(
      byId("which"),
      accounts.map(({ name, code, balance }) => [name, `${name}: ${code ?? `${grouped(balance)} đ`}`]),
      account.name,
    );
    const field = byId("balance-input");
    if (isOther || document.activeElement !== field) field.value = String(account.balance);
    fill(
      byId("account-state"),
      state.account_states.map(({ name, code, words: meaning }) => [
        name,
        code ? `${meaning}: ${code}` : meaning,
      ]),
      account.state,
    );
    setText(
      byId("brandnames"),
      account.brandnames.length ? `Brandnames: ${account.brandnames.join(", ")}` : "It has no brandnames.",
    );
  }

  #setBalance(written) {
    const digits = written.replace(/[\s.,_đ]/g, "");
    if (digits === String(this.#chosen.balance)) {
      complain("balance-input", "account-error", "");
      return;
    }
    if (!/^\d{1,15}$/.test(digits)) {
      complain("balance-input", "account-error", `The balance is a whole number of đồng, not “${written}”.`);
      return;
    }
    byId("balance-input").value = digits;
    this.#patch({ balance: Number(digits) });
  }

  async #patch(change) {
    try {
      await ask("PATCH", "state", { accounts: { [this.#chosen.name]: change } });
      complain("balance-input", "account-error", "");
    } catch (error) {
      complain("balance-input", "account-error", explain(error));
    }
  }
}

/** Give a select its options, unless they are the same. */
function fill(select, options, chosen) {
  const key = JSON.stringify(options);
  if (select.dataset.options !== key) {
    select.dataset.options = key;
    select.replaceChildren(...options.map(([value, words]) => element("option", { value }, words)));
  }
  if (select.value !== chosen && document.activeElement !== select) select.value = chosen;
}
