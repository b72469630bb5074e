// One send in full: the message on a phone, every attempt, and the delivery report.

import { byId, copy, element, exactTimeOf, grouped, spaced, toast, tryToAsk } from "./dom.js";
import { badge } from "./list.js";
import { stateOf } from "./store.js";

const STATUS_WORDS = { 2: "waiting to be sent", 5: "finished" };

export class Detail {
  constructor(onBack) {
    this.node = byId("detail");
    this.onBack = onBack;
    this.drawn = "";
    this.reports = new Map();
    this.reportVersion = 0;
    this.openRequests = new Set();
    this.asked = new Set();
  }

  putReport(report) {
    if (!this.asked.has(report.sms_id)) return;
    this.reports.set(report.number, report);
    this.reportVersion += 1;
  }

  forgetReports() {
    this.reports.clear();
    this.asked.clear();
    this.reportVersion += 1;
  }

  /** Show a send, or nothing; what has not changed since the last time is left alone. */
  render(send, now) {
    const states = send?.accepted.map((message) => stateOf(message, now).word) ?? [];
    const drawn = JSON.stringify([send?.key, send?.version, states, this.reportVersion]);
    if (drawn === this.drawn) return;
    const focused = this.node.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.drawn = drawn;
    this.node.classList.toggle("filled", send !== null);
    this.node.replaceChildren(...(send === null ? [hint()] : this.#draw(send, now)));
    if (focused) this.node.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    for (const message of send?.accepted ?? []) this.#loadReports(message.sms_id);
  }

  async #loadReports(smsId) {
    if (this.asked.has(smsId)) return;
    this.asked.clear();
    this.reports.clear();
    this.asked.add(smsId);
    const told = await tryToAsk("GET", `reports?limit=100&sms_id=${encodeURIComponent(smsId)}`);
    for (const report of told?.reports ?? []) this.putReport(report);
    this.changed?.();
  }

  #draw(send, now) {
    const state = send.stateAt(now);
    const back = element(
      "button",
      { type: "button", class: "back", "data-testid": "back", "data-key": "back", click: () => this.onBack() },
      "← All messages",
    );
    const head = element(
      "div",
      { class: "head" },
      element("h2", { "data-testid": "detail-phone" }, spaced(send.phone)),
      element("span", { class: "state", "data-tone": state.tone, "data-testid": "detail-state" }, state.word),
      element("span", { class: "badges" }, ...send.badges().map(badge)),
    );
    const messages = send.accepted.flatMap((message) => [this.#phone(message), this.#delivery(message, now)]);
    if (!messages.length) messages.push(unsent(send));
    return [back, head, ...messages, this.#attempts(send)];
  }

  #phone(message) {
    const size = message.alphabet === "GSM-7" ? [160, 153] : [70, 67];
    const room = message.parts === 1 ? size[0] : size[1] * message.parts;
    const parts = message.parts === 1 ? "1 part" : `${message.parts} parts`;
    return element(
      "section",
      { class: "phone-view", "aria-label": "The message as the phone shows it" },
      element(
        "div",
        { class: "handset" },
        element("p", { class: "sender" }, "eSMS"),
        element("p", { class: "bubble", "data-testid": "bubble" }, message.content),
      ),
      element(
        "div",
        { class: "facts" },
        message.otp &&
          element(
            "button",
            {
              type: "button",
              class: "code large",
              "data-testid": "detail-otp",
              "data-key": `otp ${message.sms_id}`,
              "aria-label": `Copy the code ${message.otp}`,
              click: () => copy(message.otp, message.otp),
            },
            message.otp,
          ),
        element(
          "p",
          { "data-testid": "parts" },
          `${parts} · ${message.alphabet} · ${message.units} of ${room} · ${grouped(message.price)} đ`,
        ),
        fact("RequestId", message.request_id, "request-id"),
        fact("SMSID", message.sms_id, "sms-id"),
        fact("campaignid", message.campaign_id, "campaign-id"),
        message.send_at && element("p", {}, `To be sent ${new Date(message.send_at).toLocaleString()}`),
      ),
    );
  }

  #delivery(message, now) {
    const state = stateOf(message, now);
    const isFinished = state.word === "delivered" || state.word === "failed";
    const act = (name, label, isPossible = true) =>
      element(
        "button",
        {
          type: "button",
          "data-testid": name,
          "data-key": `${name} ${message.sms_id}`,
          "aria-disabled": isPossible ? null : "true",
          click: () =>
            isPossible
              ? tryToAsk("POST", `messages/${encodeURIComponent(message.sms_id)}/${name}`)
              : toast(message.callback_url ? "Deliver it or let it fail first" : "It has no CallbackUrl"),
        },
        label,
      );
    const reports = [...this.reports.values()]
      .filter((report) => report.sms_id === message.sms_id)
      .sort((one, other) => one.number - other.number);
    return element(
      "section",
      { class: "delivery", "aria-label": "Delivery report" },
      element("h3", {}, "Delivery report"),
      element(
        "p",
        { class: "callback", "data-testid": "callback" },
        message.callback_url ? `to ${message.callback_url}` : "No CallbackUrl was given, so nobody is told.",
      ),
      element(
        "div",
        { class: "actions", role: "group", "aria-label": "Delivery" },
        act("deliver", "Deliver"),
        act("fail", "Fail"),
        act("resend", "Resend", isFinished && message.callback_url !== null),
      ),
      element(
        "ol",
        { class: "reports", "data-testid": "reports" },
        ...reports.map((report) =>
          element(
            "li",
            { "data-testid": "report" },
            element("time", { datetime: report.at }, exactTimeOf(report.at)),
            element("span", {}, `${report.send_status} ${STATUS_WORDS[report.send_status]}`),
            report.attempt > 1 ? element("span", {}, `try ${report.attempt}`) : null,
            element(
              "span",
              { class: "result", "data-tone": /^2\d\d$/.test(report.result) ? "good" : "bad" },
              /^\d+$/.test(report.result) ? `HTTP ${report.result}` : report.result,
            ),
          ),
        ),
      ),
    );
  }

  #attempts(send) {
    return element(
      "section",
      { class: "attempts", "aria-label": "Attempts" },
      element("h3", {}, send.requestId ? "Attempts with this RequestId" : "The request"),
      element("ol", { "data-testid": "attempts" }, ...send.attempts.map((each) => this.#attempt(each))),
    );
  }

  #attempt(request) {
    const { number } = request;
    const answer = answerTo(request);
    return element(
      "li",
      { "data-testid": "attempt" },
      element("time", { datetime: request.at }, exactTimeOf(request.at)),
      element("span", { class: "answer", "data-tone": answer.tone, "data-testid": "answer" }, answer.text),
      request.fault
        ? element("span", { class: "badge", "data-tone": "warn", "data-testid": "attempt-fault" }, request.fault)
        : null,
      element(
        "details",
        {
          open: this.openRequests.has(number),
          toggle: (event) => this.openRequests[event.target.open ? "add" : "delete"](number),
        },
        element("summary", { "data-key": `raw ${number}`, "data-testid": "raw-toggle" }, "Raw request"),
        element("pre", { "data-testid": "raw", tabindex: "0" }, `${request.method}\n${JSON.stringify(request.fields, null, 2)}`),
      ),
    );
  }
}

function answerTo(request) {
  const verdict = request.decided === "100" ? "accepted it" : `decided ${request.decided}`;
  const decided = request.decided && request.decided !== request.told ? `, but the gateway had ${verdict}` : "";
  if (request.status === null) {
    const isLate = request.fault?.startsWith("delay") && request.decided === null;
    return { tone: "bad", text: `${isLate ? "no answer yet" : "no answer"}${decided}` };
  }
  const words = [request.told ?? `HTTP ${request.status}`];
  if (request.told === "100") words.push(request.sandbox ? "checked, not stored" : "accepted");
  else if (request.meaning) words.push(request.meaning);
  const tone = request.told === "100" || (request.told === "124" && !request.fault) ? "good" : "bad";
  return { tone, text: `${words.join(" ")}${decided}` };
}

function fact(name, value, testid) {
  if (!value) return null;
  return element(
    "p",
    { class: "fact" },
    element("span", {}, name),
    element("code", { "data-testid": testid }, value),
    element(
      "button",
      { type: "button", "data-key": `${testid} ${value}`, "aria-label": `Copy the ${name}`, click: () => copy(value, `the ${name}`) },
      "Copy",
    ),
  );
}

function unsent(send) {
  const isSandbox = send.attempts.some((each) => each.sandbox && each.told === "100");
  return element(
    "section",
    { class: "unsent", "data-testid": "unsent" },
    element("p", {}, isSandbox ? "Checked by the sandbox; nothing was stored or sent." : "Nothing was accepted; no phone gets this."),
    element("p", { class: "bubble", "data-testid": "bubble" }, send.content),
    fact("RequestId", send.requestId, "request-id"),
  );
}

function hint() {
  const key = (name) => element("kbd", {}, name);
  return element(
    "p",
    { class: "hint" },
    "Select a message. ",
    ...[key("j"), " and ", key("k"), " go down and up, ", key("/"), " searches."],
  );
}
