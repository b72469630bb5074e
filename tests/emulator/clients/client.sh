# Calls every operation of an emulator with curl, and prints the codes.
set -eu
url=$1
text='482913 la ma xac minh dang ky Baotrixemay cua ban'
keys='"ApiKey":"any","SecretKey":"any"'
sms="$keys,\"Phone\":\"0901888484\",\"Content\":\"$text\""
json() { curl -sS -H 'Content-Type: application/json' -d "{$2}" "$url$1"; }
get() { name=$1; shift; curl -sS --get "$url$name" "$@"; }
code() { sed -E 's/.*"Code(Result|Response)":"([0-9]+)".*/\2/'; }
field() { printf '%s"%s":"%s"' "${comma-}" "$1" "$2"; comma=,; }

first=$(json SendMultipleMessage_V4_post_json/ "$sms,\"SmsType\":\"8\"")
id=$(printf %s "$first" | sed -E 's/.*"SMSID":"([^"]+)".*/\1/')
query=(--data-urlencode ApiKey=any --data-urlencode SecretKey=any)
whole=("${query[@]}" --data-urlencode Phone=0901888484 --data-urlencode "Content=$text")
printf '{'
field post_json "$(printf %s "$first" | code)"
field get "$(get SendMultipleMessage_V4_get "${whole[@]}" --data SmsType=8 | code)"
field form "$(curl -sS "${whole[@]}" --data SmsType=8 "${url}SendMultipleMessage_V4_post/" | code)"
field brandname "$(json SendMultipleMessage_V4_post_json/ "$sms,\"SmsType\":\"2\",\"Brandname\":\"Baotrixemay\"" | code)"
field zalo "$(json SendZaloMessage_V6/ "$keys,\"OAID\":\"1\",\"TempID\":\"2\",\"Phone\":\"0901888484\",\"TempData\":{\"otp\":\"482913\"}" | code)"
field zalo_status "$(json GetZaloMessageStatus "$keys,\"OAID\":\"1\",\"MessageId\":\"1\"" | code)"
field balance "$(json GetBalance_json "$keys" | code)"
field status "$(get GetSendStatus "${query[@]}" --data "RefId=$id" | code)"
field receivers "$(get GetSmsReceiverStatus_get "${query[@]}" --data "RefId=$id" | code)"
field sent "$(json GetSmsSentData_V2 "$keys,\"SmsType\":\"8\",\"From\":\"2020-01-01 00:00:00\",\"To\":\"2099-01-01 00:00:00\",\"Page\":\"1\",\"PageSize\":\"9\"" | code)"
field brandnames "$(curl -sS "${url}GetListBrandname/any/any" | code)"
field templates "$(json GetTemplate/ "$keys,\"SmsType\":\"2\",\"Brandname\":\"Baotrixemay\"" | code)"
field price "$(get SummaryMultipleMessage_V4_get "${whole[@]}" --data SmsType=2 --data BrandName=Baotrixemay | code)"
printf '}\n'
