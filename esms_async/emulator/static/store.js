// What the page knows: sends by RequestId, each with its requests and what was accepted of it.

const MOST_SENDS = 5000;
const MOST_REQUESTS_OF_ONE = 500;

/** Fold case, diacritics and white space away, so that "ma xac" finds "Mã xác". */
export const fold = (text) =>
  text.normalize("NFD").replace(/\p{Mn}/gu, "").replace(/[đĐ]/g, "d").toLowerCase();

/** Return a field of a request by its name, whose case does not count. */
export function field(request, name) {
  for (const [written, value] of Object.entries(request.fields)) {
    if (written.toLowerCase() === name) return value;
  }
  return null;
}

/** All attempts of one logical send. */
class Send {
  constructor(key) {
    this.key = key;
    this.requests = new Map();
    this.messages = new Map();
    this.version = 0;
    this.first = Infinity;
    this.haystack = null;
  }

  put(kept, record) {
    kept.set(record.number, record);
    this.first = Math.min(this.first, Date.parse(record.at));
    this.version += 1;
    this.haystack = null;
    if (this.requests.size > MOST_REQUESTS_OF_ONE) {
      this.requests.delete(Math.min(...this.requests.keys()));
    }
  }

  /** The requests, the first one first. */
  get attempts() {
    return [...this.requests.values()].sort((one, other) => one.number - other.number);
  }

  /** The accepted messages, the newest first; more than one only where the gateway forgot. */
  get accepted() {
    return [...this.messages.values()].sort((one, other) => other.number - one.number);
  }

  get message() {
    return this.accepted[0] ?? null;
  }

  get at() {
    return new Date(this.first).toISOString();
  }

  get phone() {
    return this.message?.phone ?? this.attempts[0]?.phone ?? null;
  }

  get content() {
    return this.message?.content ?? field(this.attempts[0], "content") ?? "";
  }

  get requestId() {
    return this.message?.request_id ?? this.attempts[0]?.request_id ?? null;
  }

  matches(folded, digits) {
    this.haystack ??= fold(
      [this.phone, this.content, this.requestId, ...this.accepted.map((each) => each.sms_id)].join("\n"),
    );
    return (
      this.haystack.includes(folded) || (digits !== null && (this.phone ?? "").includes(digits))
    );
  }

  /** What became of it, as a word for the eye and a tone for the colour. */
  stateAt(now) {
    const message = this.message;
    if (message !== null) return stateOf(message, now);
    const last = this.attempts.at(-1);
    if (last.status === null) return { word: "no answer", tone: "bad" };
    if (last.told === "100") return { word: last.sandbox ? "checked" : "accepted", tone: "good" };
    if (last.told !== null) return { word: `rejected ${last.told}`, tone: "bad" };
    return { word: last.status === 200 ? "error without a code" : `HTTP ${last.status}`, tone: "bad" };
  }

  badges() {
    const { attempts, accepted } = this;
    const found = [];
    if (accepted.length > 1) {
      found.push({ kind: "twice", tone: "bad", text: `accepted ×${accepted.length}` });
    }
    if (attempts.length > 1) found.push({ kind: "retried", text: `retried ×${attempts.length - 1}` });
    if (accepted.length && attempts.some((each) => each.told === "124" || each.decided === "124")) {
      found.push({ kind: "deduplicated", tone: "good", text: "deduplicated" });
    }
    const faults = new Set(attempts.flatMap((each) => (each.fault ? [kindOf(each.fault)] : [])));
    for (const message of accepted) {
      if (message.delivery.twist) faults.add(`dlr:${message.delivery.twist}`);
    }
    if (faults.size) {
      found.push({ kind: "fault", tone: "warn", text: `fault ${[...faults].join(", ")}` });
    }
    if (attempts.some((each) => each.sandbox)) found.push({ kind: "sandbox", text: "sandbox" });
    return found;
  }
}

const kindOf = (spec) => spec.split(/[,@]/, 1)[0];

/** How far the delivery of a message is, by the emulator's clock in milliseconds. */
export function stateOf(message, now) {
  const { started_at, finished_at, delivered } = message.delivery;
  if (finished_at !== null && now >= Date.parse(finished_at)) {
    return delivered ? { word: "delivered", tone: "good" } : { word: "failed", tone: "bad" };
  }
  if (finished_at === null && now >= Date.parse(started_at)) return { word: "sent", tone: "wait" };
  return { word: "waiting", tone: "wait" };
}

export class Store {
  constructor() {
    this.clear();
  }

  clear() {
    this.sends = new Map();
    this.sorted = [];
    this.inOrder = true;
  }

  /** Take a message in; `older` must not replace what an event has told meanwhile. */
  putMessage(message, { older = false } = {}) {
    const send = this.#send(message.request_id ? `r ${message.request_id}` : `m ${message.sms_id}`);
    if (!(older && send.messages.has(message.number))) send.put(send.messages, message);
  }

  putRequest(request, { older = false } = {}) {
    if (request.operation !== "send") return;
    const alone = request.sms_id ? `m ${request.sms_id}` : `q ${request.number}`;
    const send = this.#send(request.request_id ? `r ${request.request_id}` : alone);
    if (!(older && send.requests.has(request.number))) send.put(send.requests, request);
    // A delayed request without a RequestId is known by its number until it is accepted.
    if (!request.request_id && request.sms_id) this.#forget(`q ${request.number}`);
  }

  get(key) {
    return this.sends.get(key) ?? null;
  }

  /** The sends that a query finds, newest first. */
  find(query) {
    this.#sort();
    const folded = fold(query.trim());
    if (!folded) return this.sorted;
    const digits = folded.replace(/[\s.+-]/g, "");
    const phone = /^\d{3,}$/.test(digits) ? digits.replace(/^84/, "0") : null;
    return this.sorted.filter((send) => send.matches(folded, phone));
  }

  #send(key) {
    let send = this.sends.get(key);
    if (!send) {
      send = new Send(key);
      this.sends.set(key, send);
      this.sorted.push(send);
    }
    this.inOrder = false;
    return send;
  }

  #forget(key) {
    if (this.sends.delete(key)) this.sorted = this.sorted.filter((send) => send.key !== key);
  }

  #sort() {
    if (this.inOrder) return;
    this.sorted.sort((one, other) => other.first - one.first || newest(other) - newest(one));
    for (const send of this.sorted.splice(MOST_SENDS)) this.sends.delete(send.key);
    this.inOrder = true;
  }
}

const newest = (send) => Math.max(0, ...send.requests.keys());
