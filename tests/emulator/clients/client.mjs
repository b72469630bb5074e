// Calls every operation of an emulator with fetch, and prints the codes.
const url = process.argv[2];
const keys = { ApiKey: "any", SecretKey: "any" };
const text = "482913 la ma xac minh dang ky Baotrixemay cua ban";
const sms = { ...keys, Phone: "0901888484", Content: text, SmsType: "8" };
const brandname = { ...sms, SmsType: "2", Brandname: "Baotrixemay" };
const code = (answer) => answer.CodeResult ?? answer.CodeResponse;

const post = async (name, body) => {
  const response = await fetch(url + name, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  return response.json();
};
const get = async (name, query) => (await fetch(`${url}${name}?${new URLSearchParams(query)}`)).json();

const codes = {};
const first = await post("SendMultipleMessage_V4_post_json/", sms);
codes.post_json = code(first);
codes.get = code(await get("SendMultipleMessage_V4_get", sms));
codes.form = code(
  await (
    await fetch(url + "SendMultipleMessage_V4_post/", {
      method: "POST",
      body: new URLSearchParams(sms),
    })
  ).json(),
);
codes.brandname = code(await post("SendMultipleMessage_V4_post_json/", brandname));
const zalo = await post("SendZaloMessage_V6/", {
  ...keys, OAID: "1", Phone: "0901888484", TempID: "2", TempData: { otp: "482913" }, SendingMode: "1",
});
codes.zalo = code(zalo);
codes.zalo_status = code(await post("GetZaloMessageStatus", { ...keys, OAID: "1", MessageId: zalo.SMSID }));
codes.balance = code(await post("GetBalance_json", keys));
const ref = { ...keys, RefId: first.SMSID };
codes.status = code(await get("GetSendStatus", ref));
codes.receivers = code(await get("GetSmsReceiverStatus_get", ref));
codes.sent = code(
  await post("GetSmsSentData_V2", {
    ...keys, SmsType: "8", From: "2020-01-01 00:00:00", To: "2099-01-01 00:00:00", Page: 1, PageSize: 500,
  }),
);
codes.brandnames = code(await get("GetListBrandname/any/any", {}));
codes.templates = code(await post("GetTemplate/", { ...keys, SmsType: "2", Brandname: "Baotrixemay" }));
codes.price = code(
  await get("SummaryMultipleMessage_V4_get", { ...keys, Phone: "0901888484", Content: text, SmsType: "2", BrandName: "Baotrixemay" }),
);
console.log(JSON.stringify(codes));
