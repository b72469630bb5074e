"""Which line of the gateway's list is a send whose outcome is unknown."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esms_async import Status
from esms_async._model.messages import VIETNAM_TIME
from esms_async._send.reconcile import TOLERANCE, Match, find_send, masked, merged, period
from esms_async.ledger import Entry, Reason
from esms_async.queries import Finding, SendStatus, SentMessage

PHONE, MASKED = "0901888484", "090****484"
SAME_MASK, OTHER = "0901999484", "0912345678"
AT = datetime(2026, 5, 1, 12, tzinfo=VIETNAM_TIME)
SECOND = timedelta(seconds=1)


def held(phone: str = PHONE, request_id: str = "login:7", reason: Reason = Reason.ATTEMPT) -> Entry:
    """The ledger's entry of a send at noon that was tried for ten seconds."""
    at = AT.timestamp()
    return Entry(request_id, Status.UNKNOWN, reason, 1, b"", phone, None, at, at + 10)


OWN = SentMessage("d8e0", PHONE, "686868", "login:7", AT, SendStatus.FINISHED)
LATER = OWN.sent_at and OWN.sent_at + timedelta(days=3)


def like(**changes: object) -> SentMessage:
    """The line of the send itself, with something changed."""
    return attrs.evolve(OWN, **changes)  # type: ignore[arg-type]  # of any field


@pytest.mark.parametrize("phone", [PHONE, MASKED])
@pytest.mark.parametrize(
    ("lines", "finding"),
    [
        # One line with its campaign id, phone and time.
        ([OWN], Finding.FOUND),
        ([like(send_status=SendStatus.WAITING)], Finding.FOUND),
        ([like(send_status=SendStatus.SENT)], Finding.FOUND),
        ([like(phone="84901888484")], Finding.FOUND),
        ([like(sms_id=None)], Finding.FOUND),
        ([like(content=None)], Finding.FOUND),
        ([like(sent_at=AT - TOLERANCE)], Finding.FOUND),
        # A SendDate may have put it off.
        ([like(sent_at=LATER)], Finding.FOUND),
        # The same line twice, as from two pages.
        ([OWN, OWN], Finding.FOUND),
        ([OWN, like(send_status=SendStatus.SENT)], Finding.FOUND),
        # Beside others of the phone, the time, or the campaign.
        ([like(sms_id="a", campaign_id=None), OWN], Finding.FOUND),
        ([like(sms_id="a", campaign_id="login:8"), OWN], Finding.FOUND),
        ([like(sms_id="a", phone=OTHER), OWN], Finding.FOUND),
        ([like(sms_id="a", sent_at=AT - timedelta(days=2)), OWN], Finding.FOUND),
        # The gateway has not taken it, refuses it, or says what no page lists.
        ([like(send_status=SendStatus.COMPOSING)], Finding.UNDECIDED),
        ([like(send_status=SendStatus.AWAITING_APPROVAL)], Finding.UNDECIDED),
        ([like(send_status=SendStatus.REFUSED)], Finding.UNDECIDED),
        ([like(send_status=3)], Finding.UNDECIDED),
        ([like(send_status=None)], Finding.UNDECIDED),
        ([OWN, like(send_status=SendStatus.REFUSED)], Finding.UNDECIDED),
        # Several could be it.
        ([OWN, like(sms_id="a")], Finding.AMBIGUOUS),
        ([OWN, like(sms_id=None)], Finding.AMBIGUOUS),
        ([like(sms_id=None), like(sms_id=None, portal_id="2")], Finding.AMBIGUOUS),
        ([OWN, like(sms_id="a", send_status=SendStatus.REFUSED)], Finding.AMBIGUOUS),
        # The phone and the time alone, of one message or of two in the same minutes.
        ([like(campaign_id=None)], Finding.SIMILAR),
        ([like(campaign_id="LOGIN:7")], Finding.SIMILAR),
        ([like(campaign_id="login:71")], Finding.SIMILAR),
        ([like(campaign_id=None), like(campaign_id=None, sms_id="a")], Finding.SIMILAR),
        ([like(sent_at=None)], Finding.SIMILAR),
        ([like(campaign_id=None, sent_at=AT + TOLERANCE + 10 * SECOND)], Finding.SIMILAR),
        # Nothing of it.
        ([], Finding.ABSENT),
        ([like(phone=OTHER)], Finding.ABSENT),
        ([like(phone=None)], Finding.ABSENT),
        ([like(phone="a phone")], Finding.ABSENT),
        ([like(sent_at=AT - TOLERANCE - SECOND)], Finding.ABSENT),
        ([like(campaign_id=None, sent_at=AT + TOLERANCE + 11 * SECOND)], Finding.ABSENT),
        ([like(campaign_id=None, sent_at=LATER)], Finding.ABSENT),
    ],
)
def test_the_rule(phone: str, lines: list[SentMessage], finding: Finding) -> None:
    """Every case, whether the ledger keeps the phone whole or masked, in any order of lines."""
    for order in (lines, lines[::-1]):
        assert find_send(held(phone), order).finding is finding


def test_a_whole_phone_fits_itself_alone() -> None:
    """A masked phone fits others too, so it proves less; the campaign id still has to fit."""
    line = like(phone=SAME_MASK)
    assert find_send(held(PHONE), [line]) == Match(Finding.ABSENT)
    assert find_send(held(MASKED), [line]).finding is Finding.FOUND
    assert find_send(held(MASKED), [like(phone=SAME_MASK, campaign_id=None)]).finding is (
        Finding.SIMILAR
    )


def test_the_lines_that_say_so() -> None:
    """The lines of a finding come with it, and no others."""
    other = like(sms_id="a", campaign_id=None)
    assert find_send(held(), [other, OWN]).lines == (OWN,)
    assert find_send(held(), [other]).lines == (other,)
    assert find_send(held(), []).lines == ()


LINES = st.lists(
    st.builds(
        SentMessage,
        sms_id=st.none() | st.sampled_from("abc"),
        phone=st.none() | st.sampled_from([PHONE, SAME_MASK, OTHER, MASKED, "84901888484", "x"]),
        content=st.none(),
        campaign_id=st.none() | st.sampled_from(["login:7", "login:8", "spring"]),
        sent_at=st.none()
        | st.integers(-3600, 90_000).map(lambda seconds: AT + timedelta(seconds=seconds)),
        send_status=st.none() | st.sampled_from([*SendStatus, 3]),
    ),
    max_size=6,
)
PHONES = st.sampled_from([PHONE, MASKED])


@settings(deadline=None)
@given(LINES, PHONES)
def test_nothing_else_settles(lines: list[SentMessage], phone: str) -> None:
    """What settles a send has its RequestId, its phone and its time, and is one message."""
    found = find_send(held(phone), lines)
    if found.finding is Finding.FOUND:
        assert len({line.sms_id or line for line in found.lines}) == 1
        for line in found.lines:
            assert line in lines
            assert line.campaign_id == "login:7"
            assert masked(line.phone) == MASKED
            assert line.sent_at is not None
            assert line.sent_at >= AT - TOLERANCE
            assert line.send_status in (2, 5, 7)


@settings(deadline=None)
@given(LINES, PHONES)
def test_no_line_settles_two_sends(lines: list[SentMessage], phone: str) -> None:
    """Of two sends to one phone in one minute, each line is at most one."""
    first = find_send(held(phone), lines)
    second = find_send(held(phone, "login:8"), lines)
    if first.finding is second.finding is Finding.FOUND:
        assert first.lines != second.lines


@settings(deadline=None)
@given(LINES, LINES, PHONES)
def test_more_lines_never_change_which(
    lines: list[SentMessage], more: list[SentMessage], phone: str
) -> None:
    """A longer list may make a finding doubtful, but never another message of it."""
    before, after = find_send(held(phone), lines), find_send(held(phone), lines + more)
    if before.finding is after.finding is Finding.FOUND:
        ids = {line.sms_id for line in (*before.lines, *after.lines)}
        assert len(ids) == 1


def test_when_an_attempt_may_have_arrived() -> None:
    """From the first attempt to the last, with room for the clocks and for the last one's end."""
    assert period(held()) == (AT - TOLERANCE, AT + 10 * SECOND + TOLERANCE)


def test_when_a_send_in_doubt_by_124_alone_may_have_arrived() -> None:
    """Another process may have sent it before, up to the 24 hours that the gateway remembers."""
    in_doubt = held(reason=Reason.DUPLICATE)
    assert period(in_doubt) == (
        AT - TOLERANCE - timedelta(hours=24),
        AT + 10 * SECOND + TOLERANCE,
    )
    line = like(sent_at=AT - timedelta(hours=20))
    assert find_send(in_doubt, [line]).finding is Finding.FOUND
    assert find_send(held(), [line]).finding is Finding.ABSENT


PERIODS = st.lists(
    st.tuples(st.integers(0, 500), st.integers(0, 60)).map(
        lambda pair: (
            datetime.fromtimestamp(pair[0], UTC),
            datetime.fromtimestamp(pair[0] + pair[1], UTC),
        )
    )
)


@settings(deadline=None)
@given(PERIODS)
def test_periods_are_merged(periods: list[tuple[datetime, datetime]]) -> None:
    """All the time is covered, no second twice, and nothing that nobody asked for."""
    done = merged(periods)
    for since, until in periods:
        assert any(begin <= since and until <= end for begin, end in done)
    for (_, end), (begin, _) in pairwise(done):
        assert end + 2 * SECOND < begin
    edges = {edge for period in periods for edge in period}
    assert {edge for period in done for edge in period} <= edges
