import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** Calls every operation of an emulator with java.net.http, and prints the codes. */
public class Client {
    static final HttpClient HTTP = HttpClient.newHttpClient();
    static String url;

    static String send(HttpRequest.Builder request) throws Exception {
        return HTTP.send(request.build(), BodyHandlers.ofString()).body();
    }

    static String post(String name, String type, String body) throws Exception {
        return send(HttpRequest.newBuilder(URI.create(url + name)).header("Content-Type", type)
                .POST(HttpRequest.BodyPublishers.ofString(body)));
    }

    static String json(String name, String fields) throws Exception {
        return post(name, "application/json", "{" + fields + "}");
    }

    static String form(Map<String, String> fields) {
        return fields.entrySet().stream()
                .map(e -> e.getKey() + "=" + URLEncoder.encode(e.getValue(), StandardCharsets.UTF_8))
                .collect(Collectors.joining("&"));
    }

    static String get(String name, Map<String, String> query) throws Exception {
        return send(HttpRequest.newBuilder(URI.create(url + name + "?" + form(query))));
    }

    static String find(String pattern, String answer) {
        var matcher = Pattern.compile(pattern).matcher(answer);
        return matcher.find() ? matcher.group(1) : answer;
    }

    static Map<String, String> with(Map<String, String> fields, String... more) {
        var all = new LinkedHashMap<>(fields);
        for (int i = 0; i < more.length; i += 2) all.put(more[i], more[i + 1]);
        return all;
    }

    public static void main(String[] arguments) throws Exception {
        url = arguments[0];
        var text = "482913 la ma xac minh dang ky Baotrixemay cua ban";
        var keys = Map.of("ApiKey", "any", "SecretKey", "any");
        var sms = with(keys, "Phone", "0901888484", "Content", text, "SmsType", "8");
        var k = "\"ApiKey\":\"any\",\"SecretKey\":\"any\"";
        var s = k + ",\"Phone\":\"0901888484\",\"Content\":\"" + text + "\"";
        var answers = new LinkedHashMap<String, String>();
        var first = json("SendMultipleMessage_V4_post_json/", s + ",\"SmsType\":\"8\"");
        var ref = with(keys, "RefId", find("\"SMSID\":\"([^\"]+)\"", first));
        answers.put("post_json", first);
        answers.put("get", get("SendMultipleMessage_V4_get", sms));
        answers.put("form", post("SendMultipleMessage_V4_post/", "application/x-www-form-urlencoded", form(sms)));
        answers.put("brandname", json("SendMultipleMessage_V4_post_json/", s + ",\"SmsType\":\"2\",\"Brandname\":\"Baotrixemay\""));
        answers.put("zalo", json("SendZaloMessage_V6/", k + ",\"OAID\":\"1\",\"TempID\":\"2\",\"Phone\":\"0901888484\",\"TempData\":{\"otp\":\"482913\"}"));
        answers.put("zalo_status", json("GetZaloMessageStatus", k + ",\"OAID\":\"1\",\"MessageId\":\"1\""));
        answers.put("balance", json("GetBalance_json", k));
        answers.put("status", get("GetSendStatus", ref));
        answers.put("receivers", get("GetSmsReceiverStatus_get", ref));
        answers.put("sent", json("GetSmsSentData_V2", k + ",\"SmsType\":\"8\",\"From\":\"2020-01-01 00:00:00\",\"To\":\"2099-01-01 00:00:00\",\"Page\":\"1\",\"PageSize\":\"9\""));
        answers.put("brandnames", send(HttpRequest.newBuilder(URI.create(url + "GetListBrandname/any/any"))));
        answers.put("templates", json("GetTemplate/", k + ",\"SmsType\":\"2\",\"Brandname\":\"Baotrixemay\""));
        answers.put("price", get("SummaryMultipleMessage_V4_get", with(sms, "SmsType", "2", "BrandName", "Baotrixemay")));
        System.out.println(answers.entrySet().stream()
                .map(e -> "\"" + e.getKey() + "\":\"" + find("\"Code(?:Result|Response)\":\"([0-9]+)\"", e.getValue()) + "\"")
                .collect(Collectors.joining(",", "{", "}")));
    }
}
