"""The settings refuse what cannot work, by name."""

from typing import Any

import pytest

from esms_async._model.errors import ConfigurationError
from esms_async.emulator import Check, Settings


def test_the_defaults_work() -> None:
    """Nothing needs to be set."""
    assert Settings().dedup_window == 24 * 3600


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("checks", (Check.KEYS,)),
        ("checks", (Check.KEYS,) * 7),
        ("checks", list(Check)),
        ("dedup_window", -1),
        ("dedup_window", float("nan")),
        ("dedup_window", True),
        ("dedup_window", "24h"),
        ("report_timeout", 0),
        ("invalid_status", 500),
        ("rejection_status", 500),
        ("unreadable_status", 404),
        ("sends_per_second", 0),
        ("price", -1),
        ("price", 8.5),
        ("price", True),
        ("report_retries", -1),
        ("max_messages", 0),
        ("max_messages", True),
        ("max_request_bytes", "64k"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(name: str, value: Any) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigurationError, match=name):
        Settings(**{name: value})
