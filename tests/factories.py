"""Values that many tests need, with nothing in them that matters to the test."""

from hypothesis import strategies as st
from tenacity import wait_none

from esms_async import Credentials, Message, RetryPolicy

API_KEY = "KEYKEYKEYKEY"
SECRET_KEY = "SECRETSECRETSECRET"
CREDENTIALS = Credentials(API_KEY, SECRET_KEY)
# A machine under load may stand still for seconds.
ONE_ATTEMPT = RetryPolicy(attempts=1, attempt_timeout=60, deadline=120)
QUICK = RetryPolicy(attempts=4, wait=wait_none(), attempt_timeout=60, deadline=240)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def a_message(phone: str = "0901888484", content: str = "686868 la ma xac minh") -> Message:
    """Make a new Message."""
    return Message(phone, content)
