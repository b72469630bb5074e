"""The memory of RequestIds."""

from esms_async.emulator.gateway import RequestIds


def use(request_ids: RequestIds, request_id: str, now: float, sms_id: str | None) -> None:
    """Use a RequestId, as a send does."""
    if (made := request_ids.next_use(request_id, now, sms_id)) is not None:
        request_ids.note(request_id, made, now)


def test_a_request_id_blocks_for_the_window() -> None:
    """A use blocks until the window has gone; its acceptances are counted for longer."""
    request_ids = RequestIds(window=10, keep=5)
    use(request_ids, "r", 100, "s-1")
    blocking = request_ids.blocking("r", 109.9)
    assert blocking is not None
    assert blocking.sms_id == "s-1"
    assert request_ids.blocking("r", 110) is None
    use(request_ids, "r", 110, "s-2")
    assert request_ids.accepted("r") == 2


def test_a_use_without_a_message_is_no_acceptance() -> None:
    """A rejection that uses up a RequestId blocks, and does not count."""
    request_ids = RequestIds(window=10, keep=5)
    use(request_ids, "r", 100, None)
    assert request_ids.blocking("r", 100) is not None
    assert request_ids.accepted("r") == 0


def test_no_request_id_is_no_use() -> None:
    """A send without a RequestId leaves no memory."""
    request_ids = RequestIds(window=10, keep=5)
    use(request_ids, "", 100, "s-1")
    assert request_ids.blocking("", 100) is None
    assert request_ids.accepted("") == 0


def test_the_least_recently_used_goes_first_and_only_when_it_blocks_no_more() -> None:
    """Beyond what is kept, the oldest use is forgotten once its window has gone."""
    request_ids = RequestIds(window=10, keep=2)
    for name in ("a", "b", "c"):
        use(request_ids, name, 100, "s")
    assert [request_ids.accepted(name) for name in "abc"] == [1, 1, 1]
    use(request_ids, "a", 110, "s")
    assert [request_ids.accepted(name) for name in "abc"] == [2, 0, 1]
    request_ids.clear()
    assert request_ids.accepted("a") == 0
