// The armed faults, presets to arm with one click, and a field for any specification.

import { ask, byId, element, setText, toast, tryToAsk } from "./dom.js";

const PRESETS = [
  ["Lose the next answer", "reset@send,phase=after,times=1"],
  ["Reset the next send", "reset@send,times=1"],
  ["Hang once", "hang@send,times=1"],
  ["Answer 2 s late", "delay:2s@send,times=1"],
  ["503 three times", "http:503@send,times=3,retry_after=1"],
  ["Error without a code", "invalid@send,times=1"],
  ["Balance used up", "code:103@send,times=1"],
  ["Delivery fails", "dlr:failed,times=1"],
  ["Lose one answer in ten", "reset@send,phase=after,p=0.1"],
];

export class Faults {
  constructor() {
    this.drawn = "";
    byId("presets").append(
      ...PRESETS.map(([name, spec]) =>
        element("button", { type: "button", title: spec, "data-testid": "preset", "data-spec": spec, click: () => this.#arm(spec) }, name),
      ),
    );
    byId("arm").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#armWritten();
    });
    byId("spec").addEventListener("input", () => this.#complain(""));
    byId("disarm-all").addEventListener("click", () => tryToAsk("DELETE", "faults"));
    byId("reset").addEventListener("click", () => tryToAsk("POST", "reset"));
  }

  render(faults) {
    const drawn = JSON.stringify(faults);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const active = faults.filter((fault) => fault.left !== 0).length;
    setText(byId("fault-count"), active ? `${active} armed` : "none armed");
    byId("fault-count").dataset.tone = active ? "warn" : "";
    byId("disarm-all").disabled = !faults.length;
    const focused = document.activeElement?.dataset.fault;
    byId("armed").replaceChildren(...(faults.length ? faults.map(row) : [element("li", { class: "none" }, "Nothing is armed: every request is answered as the gateway would.")]));
    if (focused) byId("armed").querySelector(`[data-fault="${CSS.escape(focused)}"]`)?.focus();
  }

  async #arm(spec) {
    if (await tryToAsk("POST", "faults", { spec })) toast(`Armed ${spec}`);
  }

  async #armWritten() {
    try {
      await ask("POST", "faults", { spec: byId("spec").value });
      byId("spec").value = "";
      this.#complain("");
    } catch (error) {
      this.#complain(error.message);
    }
  }

  #complain(words) {
    byId("spec-error").textContent = words;
    if (words) byId("spec").setAttribute("aria-invalid", "true");
    else byId("spec").removeAttribute("aria-invalid");
  }
}

function row(fault) {
  const left = fault.left === null ? "no limit" : fault.left === 0 ? "used up" : `${fault.left} left`;
  return element(
    "li",
    { "data-testid": "fault", class: fault.left === 0 ? "spent" : null },
    element("code", {}, fault.spec),
    element("span", { "data-testid": "fault-left" }, `used ${fault.used}×, ${left}`),
    element(
      "button",
      {
        type: "button",
        "data-testid": "disarm",
        "data-fault": fault.number,
        "aria-label": `Disarm ${fault.spec}`,
        click: () => tryToAsk("DELETE", `faults/${fault.number}`),
      },
      "Disarm",
    ),
  );
}
