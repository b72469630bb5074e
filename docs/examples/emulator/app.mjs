// An app in another language: it sends a code, and prints the delivery reports that come.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";

const { ESMS_BASE_URL, ESMS_API_KEY, ESMS_SECRET_KEY, CALLBACK_HOST, PORT } = process.env;

// One id for one message, and a new one in each run: the emulator remembers ids in its volume.
const requestId = randomUUID();

const server = createServer((request, response) => {
  const query = new URL(request.url, "http://app").searchParams;
  const [state, arrived] = [query.get("SendStatus"), query.get("SendSuccess")];
  console.log(`report ${query.get("RequestId")} SendStatus=${state} SendSuccess=${arrived}`);
  response.end("ok");
  if (query.get("SendStatus") === "5") server.close();
});

server.listen(Number(PORT ?? 3000), CALLBACK_HOST === "app" ? "0.0.0.0" : CALLBACK_HOST, async () => {
  const answer = await fetch(`${ESMS_BASE_URL}SendMultipleMessage_V4_post_json/`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({
      ApiKey: ESMS_API_KEY,
      SecretKey: ESMS_SECRET_KEY,
      SmsType: "8",
      Phone: "0901888484",
      Content: "482913 la ma xac minh cua ban",
      RequestId: requestId,
      CallbackUrl: `http://${CALLBACK_HOST}:${server.address().port}/report`,
    }),
  });
  const { CodeResult } = await answer.json();
  console.log(`answer ${CodeResult}`);
  if (CodeResult !== "100") server.close();
});
