// The page of somebody who has not sent anything yet: snippets to send the first message.

import { copy, element, icon, setText } from "./dom.js";

const PHONE = "0901888484";
const CONTENT = "482913 la ma xac minh cua ban";

const SNIPPETS = {
  curl: (url) => `curl \\
  ${url}SendMultipleMessage_V4_post_json/ \\
  -H 'Content-Type: application/json' \\
  -d '{"ApiKey": "any", "SecretKey": "any", "SmsType": "8",
       "Phone": "${PHONE}", "Content": "${CONTENT}",
       "RequestId": "login-1"}'`,
  Python: (url) => `import asyncio
from esms_async import Credentials, EsmsClient, Message

async def main():
    url = "${url}"
    async with EsmsClient(Credentials("any", "any"), base_url=url) as esms:
        await esms.send(Message("${PHONE}", "${CONTENT}"))

asyncio.run(main())`,
  Node: (url) => `await fetch("${url}SendMultipleMessage_V4_post_json/", {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({
    ApiKey: "any", SecretKey: "any", SmsType: "8", RequestId: "login-1",
    Phone: "${PHONE}", Content: "${CONTENT}",
  }),
});`,
  ".env": (url) => `ESMS_BASE_URL=${url}
ESMS_API_KEY=any
ESMS_SECRET_KEY=any`,
};

export class Hello {
  constructor() {
    this.url = "";
    this.chosen = "curl";
    this.snippet = element("pre", {
      class: "block big",
      tabindex: "0",
      "data-testid": "snippet",
      id: "snippet",
    });
    this.tabs = Object.keys(SNIPPETS).map((name) =>
      element(
        "button",
        {
          type: "button",
          "data-snippet": name,
          "data-testid": "snippet-tab",
          click: () => this.#choose(name),
        },
        name,
      ),
    );
    const copySnippet = element(
      "button",
      {
        type: "button",
        class: "btn",
        "data-testid": "copy-snippet",
        click: () => copy(this.snippet.textContent, "the snippet"),
      },
      icon("copy"),
      "Copy",
    );
    const key = (name) => element("kbd", {}, name);
    this.node = element(
      "div",
      { class: "hello", "data-testid": "hello" },
      element(
        "header",
        {},
        element(
          "div",
          {},
          element("h2", {}, "Send the first one"),
          element(
            "p",
            { class: "sub" },
            "Any keys will do. What your app sends shows up here by itself, also what is wrong.",
          ),
        ),
      ),
      element(
        "div",
        { class: "tabs filters", role: "group", "aria-label": "Language" },
        this.tabs,
        element("span", { class: "grow" }),
        copySnippet,
      ),
      this.snippet,
      element(
        "ul",
        { class: "tips" },
        element("li", {}, key("c"), " copies the code"),
        element("li", {}, key("f"), " opens the faults: lost answers, 503, a hang"),
        element("li", {}, element("b", {}, "+24 h"), " moves the clock, and RequestIds are free again"),
      ),
    );
    this.#choose(this.chosen);
  }

  render(url) {
    if (this.url === url) return;
    this.url = url;
    this.#choose(this.chosen);
  }

  #choose(name) {
    this.chosen = name;
    for (const tab of this.tabs) tab.setAttribute("aria-pressed", String(tab.dataset.snippet === name));
    setText(this.snippet, SNIPPETS[name](this.url));
  }
}
