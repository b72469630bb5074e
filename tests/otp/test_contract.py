"""The rules of one-time codes, on every store."""

import asyncio
import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import attrs
import pytest

from esms_async import (
    AccountRejected,
    DuplicateRequestId,
    EsmsError,
    InvalidMessage,
    LedgerError,
    Message,
    NotSent,
    OutcomeUnknown,
    Receipt,
    Rejected,
    RequestIdConflict,
    Status,
)
from esms_async._model.request_ids import minted_at
from esms_async.otp import Guard, Otp, OtpRefused, OtpStore, Purpose, rules
from tests.factories import a_message
from tests.otp.conftest import MakeStore
from tests.otp.support import (
    IP,
    KEY,
    NEW,
    NO_GUARD,
    OLD,
    OTHER,
    PHONE,
    TEMPLATE,
    Clock,
    Gateway,
    make_otp,
    refused,
    wrong,
)

LOGIN_AND_PAY = {"login": Purpose(TEMPLATE), "pay": Purpose("Ma thanh toan: {code}")}


def unknown(message: Message) -> OutcomeUnknown:
    """No answer came."""
    return OutcomeUnknown(message, (), "no answer")


def not_sent(message: Message) -> NotSent:
    """Nothing left."""
    return NotSent(message, (), "refused")


def rejected(message: Message) -> Rejected:
    """The gateway refused the message."""
    return Rejected(message, (), code="108", status=200)


# Rule 1.


async def test_a_start_joins_a_living_flow(store: OtpStore, sms: Gateway, clock: Clock) -> None:
    """A second start sends nothing, has the same code and end, and an id of its own."""
    otp = make_otp(sms, store)
    first = await otp.start(PHONE)
    clock.advance(100)
    second = await otp.start("+84 901 888 484")
    assert (first.status, second.status) == (Status.ACCEPTED, Status.ACCEPTED)
    assert first.id != second.id
    assert first.expires_at == second.expires_at
    assert first.expires_at == datetime.fromtimestamp(clock.now - 100, UTC) + timedelta(seconds=300)
    assert (first.resend_after, second.resend_after) == (30, 0)
    assert len(sms.sends) == 1
    assert (await otp.verify(second.id, sms.code(), phone=PHONE)).ok


async def test_a_new_flow_starts_when_the_old_one_has_ended(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """After its end, and after success, a start sends another code."""
    otp = make_otp(sms, store, guard=NO_GUARD)
    first = await otp.start(PHONE)
    old = sms.code()
    clock.advance(300)
    second = await otp.start(PHONE)
    assert len(sms.sms) == 2
    assert (await otp.verify(first.id, old, phone=PHONE)).reason == "expired"
    assert (await otp.verify(second.id, sms.code(), phone=PHONE)).ok
    await otp.start(PHONE)  # success cleared the cooldown
    assert len(sms.sms) == 3
    assert (await otp.verify(second.id, sms.code(), phone=PHONE)).reason == "expired"


async def test_a_start_near_the_end_makes_a_new_flow(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """With under 60 s left a start sends a new code if the cooldown allows, and joins if not."""
    otp = make_otp(sms, store, resend_after=(250,))
    first = await otp.start(PHONE)
    clock.advance(240)
    assert (await otp.start(PHONE)).expires_at == first.expires_at  # 60 s are left
    clock.advance(5)
    assert (await otp.start(PHONE)).expires_at == first.expires_at  # the cooldown
    clock.advance(5)
    third = await otp.start(PHONE)
    assert third.expires_at > first.expires_at
    assert len(sms.sms) == 2
    assert (await otp.verify(third.id, sms.code(), phone=PHONE)).ok


async def test_flows_of_purposes_and_subjects_are_apart(store: OtpStore, sms: Gateway) -> None:
    """Each purpose and subject has a code of its own; None is not the empty text."""
    otp = make_otp(sms, store, purposes=LOGIN_AND_PAY, resend_after=(0,), guard=NO_GUARD)
    for purpose in LOGIN_AND_PAY:
        for subject in (None, "", "a", "b"):
            challenge = await otp.start(PHONE, purpose, subject=subject)
            assert (
                await otp.verify(
                    challenge.id, sms.code(), phone=PHONE, purpose=purpose, subject=subject
                )
            ).ok
    assert len(sms.sms) == 8


# Rule 2.


@pytest.mark.parametrize(
    "binding",
    [{"phone": OTHER}, {"purpose": "pay"}, {"subject": "b"}, {"subject": None}, {"subject": ""}],
    ids=str,
)
async def test_another_binding_is_an_absent_challenge(
    store: OtpStore, sms: Gateway, binding: dict[str, str | None]
) -> None:
    """With another phone, purpose or subject the right code is `expired`, and nothing counts."""
    otp = make_otp(sms, store, purposes=LOGIN_AND_PAY)
    right = {"phone": PHONE, "purpose": "login", "subject": "a"}
    challenge = await otp.start(PHONE, "login", subject="a")
    for _ in range(20):
        result = await otp.verify(challenge.id, sms.code(), **{**right, **binding})  # type: ignore[arg-type]  # texts and None
        assert (result.ok, result.reason, result.attempts_left) == (False, "expired", 0)
    assert (await otp.verify(challenge.id, sms.code(), **right)).ok


@pytest.mark.parametrize("name", ["", "x", "A" * 54, "é" * 54, "!" * 54, "A" * 1000, None])
async def test_what_is_no_id_is_an_absent_challenge(
    store: OtpStore, sms: Gateway, name: str
) -> None:
    """A challenge id that nobody made is `expired`."""
    otp = make_otp(sms, store)
    await otp.start(PHONE)
    assert (await otp.verify(name, sms.code(), phone=PHONE)).reason == "expired"
    assert (await refused(otp.resend(name, phone=PHONE))).reason == "expired"


async def test_a_resend_takes_the_phone_of_the_challenge_alone(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """A resend to another phone is refused as `expired`."""
    otp = make_otp(sms, store)
    challenge = await otp.start(PHONE)
    clock.advance(30)
    assert (await refused(otp.resend(challenge.id, phone=OTHER))).reason == "expired"
    assert len(sms.sms) == 1


async def test_no_subject_is_not_the_empty_subject(store: OtpStore, sms: Gateway) -> None:
    """Whichever of the two a code is for, it is not right for the other."""
    otp = make_otp(sms, store, resend_after=(0,))
    for subject, other in ((None, ""), ("", None)):
        challenge = await otp.start(PHONE, subject=subject)
        result = await otp.verify(challenge.id, sms.code(), phone=PHONE, subject=other)
        assert result.reason == "expired"
        assert (await otp.verify(challenge.id, sms.code(), phone=PHONE, subject=subject)).ok


async def test_every_part_of_an_id_but_its_last_counts(store: OtpStore, sms: Gateway) -> None:
    """With another bind or gen it is absent; the last eight bytes only tell ids apart."""
    otp = make_otp(sms, store)
    challenge = await otp.start(PHONE)
    raw = base64.urlsafe_b64decode(challenge.id + "==")
    assert len(raw) == 40
    for position in (0, 15, 16, 31):
        changed = bytearray(raw)
        changed[position] ^= 1
        name = base64.urlsafe_b64encode(changed).decode().rstrip("=")
        assert (await otp.verify(name, sms.code(), phone=PHONE)).reason == "expired"
    name = base64.urlsafe_b64encode(raw[:32] + b"another!").decode().rstrip("=")
    assert (await otp.verify(name, sms.code(), phone=PHONE)).ok


# Rule 4.


async def test_keys_rotate_without_harm(make_store: MakeStore, sms: Gateway, clock: Clock) -> None:
    """Codes, counts and devices survive `[OLD]`, `[OLD, NEW]`, `[NEW, OLD]`, `[NEW]`."""
    async with make_store() as store:
        otp = make_otp(sms, store, keys=[OLD])
        first = await otp.start(OTHER)
        device = (await otp.verify(first.id, sms.code(OTHER), phone=OTHER)).device
        challenge = await otp.start(PHONE)
        code = sms.code()
        assert (await otp.verify(challenge.id, wrong(code), phone=PHONE)).attempts_left == 4
        both = make_otp(sms, store, keys=[OLD, NEW], phone_key=OLD)
        assert (await both.verify(challenge.id, wrong(code), phone=PHONE)).attempts_left == 3
        rotated = make_otp(sms, store, keys=[NEW, OLD])
        assert (await rotated.verify(challenge.id, wrong(code), phone=PHONE)).attempts_left == 2
        clock.advance(30)
        joined = await rotated.resend(challenge.id, phone=PHONE)
        assert sms.code() == code
        assert (await rotated.verify(joined.id, code, phone=PHONE)).ok
        # Devices that OLD signed are known as long as OLD is among the keys.
        for _ in range(5):
            other = await rotated.start(OTHER)
            await rotated.verify(other.id, wrong(sms.code(OTHER)), phone=OTHER)
        assert (await refused(rotated.start(OTHER))).reason == "locked"
        assert (await rotated.start(OTHER, device=device)).status is Status.ACCEPTED
        dropped = make_otp(sms, store, keys=[NEW], phone_key=OLD)
        assert (await refused(dropped.start(OTHER, device=device))).reason == "locked"


async def test_a_code_of_one_key_is_right_under_that_key_alone(
    store: OtpStore, sms: Gateway
) -> None:
    """A process that lacks the key of a flow does not believe its code, and counts nothing."""
    old = make_otp(sms, store, keys=[OLD])
    challenge = await old.start(PHONE)
    new = make_otp(sms, store, keys=[NEW], phone_key=OLD)
    for _ in range(6):
        assert (await new.verify(challenge.id, sms.code(), phone=PHONE)).reason == "expired"
    assert (await old.verify(challenge.id, sms.code(), phone=PHONE)).ok


async def test_another_phone_key_is_refused(make_store: MakeStore, sms: Gateway) -> None:
    """A store that was made with another phone key is a ConfigurationError, not a reset."""
    async with make_store() as store:
        await make_otp(sms, store, keys=[OLD]).start(PHONE)
        with pytest.raises(ValueError, match="phone_key"):
            await make_otp(sms, store, keys=[NEW]).start(PHONE)
    async with make_otp(sms, make_store(), keys=[NEW], phone_key=OLD):
        pass
    with pytest.raises(ValueError, match="phone_key"):
        async with make_otp(sms, make_store(), keys=[NEW]):
            pass


# Rule 5.


async def test_wrong_codes_lock(store: OtpStore, sms: Gateway, clock: Clock) -> None:
    """The fifth wrong code locks for 15 minutes: also the right code, start and resend."""
    otp = make_otp(sms, store, guard=NO_GUARD)
    challenge = await otp.start(PHONE)
    left = []
    for _ in range(5):
        result = await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE)
        left.append((result.reason, result.attempts_left, result.retry_after))
    assert left == [("wrong", n, None) for n in (4, 3, 2, 1)] + [("wrong", 0, 900)]
    clock.advance(100)
    result = await otp.verify(challenge.id, sms.code(), phone=PHONE)
    assert (result.reason, result.attempts_left, result.retry_after) == ("locked", 0, 800)
    for call in (otp.start(PHONE), otp.resend(challenge.id, phone=PHONE)):
        error = await refused(call)
        assert (error.reason, error.retry_after) == ("locked", 800)
    clock.advance(800)
    challenge = await otp.start(PHONE)
    assert (await otp.verify(challenge.id, sms.code(), phone=PHONE)).ok


async def test_locks_grow_and_only_success_ends_them(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """Each round locks for longer: 20 guesses the first day, 5 a day later, 100 in all."""
    otp = make_otp(sms, store, guard=NO_GUARD)
    compared: list[float] = []
    began = clock.now
    locks: list[float | None] = []
    for _ in range(60):
        try:
            challenge = await otp.start(PHONE)
        except OtpRefused as error:
            locks.append(error.retry_after)
            if locks[-1] is None:
                break
            clock.advance(locks[-1] or 0)
            continue
        for _ in range(6):
            result = await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE)
            compared += [clock.now] if result.reason == "wrong" else []
    assert locks[:5] == [900, 3600, 14400, 86400, 86400]
    assert len([at for at in compared if at < began + 86400]) == 20
    assert len(compared) == 100
    clock.advance(400 * 86400)
    assert (await refused(otp.start(PHONE))).reason == "locked"
    await otp.unlock("0901.888.484", "login")
    challenge = await otp.start(PHONE)
    result = await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE)
    assert result.attempts_left == 4
    assert (await otp.verify(challenge.id, sms.code(), phone=PHONE)).ok


async def test_success_clears_count_and_level(store: OtpStore, sms: Gateway, clock: Clock) -> None:
    """After success the next lock is the first one again."""
    otp = make_otp(sms, store, guard=NO_GUARD)
    for lock in (900, 3600):
        challenge = await otp.start(PHONE)
        for _ in range(5):
            result = await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE)
        assert result.retry_after == lock
        clock.advance(lock)
    challenge = await otp.start(PHONE)
    await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE)
    assert (await otp.verify(challenge.id, sms.code(), phone=PHONE)).ok
    challenge = await otp.start(PHONE)
    for _ in range(5):
        result = await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE)
    assert (result.attempts_left, result.retry_after) == (0, 900)


async def test_the_count_is_of_the_phone_and_purpose(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """It goes on over ids, flows, subjects and restarts, and is apart for purposes."""
    otp = make_otp(sms, store, purposes=LOGIN_AND_PAY, resend_after=(0,), guard=NO_GUARD)
    left = []
    for subject in (None, "a", "b"):
        challenge = await otp.start(PHONE, "login", subject=subject)
        result = await otp.verify(
            challenge.id, wrong(sms.code()), phone=PHONE, purpose="login", subject=subject
        )
        left.append(result.attempts_left)
    clock.advance(301)
    again = make_otp(sms, store, purposes=LOGIN_AND_PAY, resend_after=(0,), guard=NO_GUARD)
    challenge = await again.start(PHONE, "login")
    result = await again.verify(challenge.id, wrong(sms.code()), phone=PHONE, purpose="login")
    left.append(result.attempts_left)
    assert left == [4, 3, 2, 1]
    challenge = await again.start(PHONE, "pay")
    result = await again.verify(challenge.id, wrong(sms.code()), phone=PHONE, purpose="pay")
    assert result.attempts_left == 4


async def test_what_cannot_be_a_code_uses_nothing(store: OtpStore, sms: Gateway) -> None:
    """Too short, too long, letters, signs: `wrong`, and no attempt is used."""
    otp = make_otp(sms, store)
    challenge = await otp.start(PHONE, ip=IP)
    for typed in ("", "12345", "1234567", "12345a", "+12345", "1" * 1000, "½23456", "²23456", None):
        result = await otp.verify(challenge.id, typed, phone=PHONE, ip=IP)  # type: ignore[arg-type]  # None, too
        assert (result.reason, result.attempts_left, result.retry_after) == ("wrong", 5, None)
    assert (await otp.verify(challenge.id, sms.code(), phone=PHONE)).ok


async def test_codes_are_read_as_people_write_them(store: OtpStore, sms: Gateway) -> None:
    """Spaces, dots, dashes and digits of other scripts do no harm."""
    otp = make_otp(sms, store, guard=NO_GUARD, resend_after=(0,))
    fullwidth = str.maketrans("0123456789", "".join(chr(0xFF10 + n) for n in range(10)))
    arabic = str.maketrans("0123456789", "".join(chr(0x660 + n) for n in range(10)))
    for write in (
        lambda code: f" {code[:3]} {code[3:]}\n",
        lambda code: f"{code[:3]}-{code[3:]}",
        lambda code: f"{code[:2]}.{code[2:4]}.{code[4:]}",
        lambda code: f"{code[:3]}\u2013{code[3:]}\u00a0",
        lambda code: code.translate(fullwidth),
        lambda code: code.translate(arabic),
    ):
        challenge = await otp.start(PHONE)
        assert (await otp.verify(challenge.id, write(sms.code()), phone=PHONE)).ok


async def test_a_used_code_is_used(store: OtpStore, sms: Gateway, clock: Clock) -> None:
    """The second time the right code is `used`, before and after its end; nothing is counted."""
    otp = make_otp(sms, store)
    challenge = await otp.start(PHONE)
    assert (await otp.verify(challenge.id, sms.code(), phone=PHONE)).reason == "verified"
    for code in (sms.code(), wrong(sms.code())):
        result = await otp.verify(challenge.id, code, phone=PHONE)
        assert (result.ok, result.reason, result.attempts_left) == (False, "used", 0)
    clock.advance(301)
    assert (await otp.verify(challenge.id, sms.code(), phone=PHONE)).reason == "used"
    assert (await refused(otp.resend(challenge.id, phone=PHONE))).reason == "expired"


async def test_a_code_ends(store: OtpStore, sms: Gateway, clock: Clock) -> None:
    """At its end, and not before, a code is `expired`."""
    otp = make_otp(sms, store)
    challenge = await otp.start(PHONE)
    clock.advance(299.999)
    assert (await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE)).reason == "wrong"
    clock.advance(0.001)
    result = await otp.verify(challenge.id, sms.code(), phone=PHONE)
    assert (result.reason, result.attempts_left) == ("expired", 0)


# Rule 6.


async def log_in(otp: Otp, sms: Gateway, phone: str = PHONE) -> str:
    """Log a phone in, and return its device."""
    challenge = await otp.start(phone)
    result = await otp.verify(challenge.id, sms.code(phone), phone=phone)
    assert result.ok
    assert result.device is not None
    return result.device


async def test_a_stranger_does_not_lock_the_owner_out(store: OtpStore, sms: Gateway) -> None:
    """A known device has a count and a lock of its own, and joins the flow of a stranger."""
    otp = make_otp(sms, store)
    device = await log_in(otp, sms)
    challenge = await otp.start(PHONE)
    for _ in range(5):
        await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE)
    assert (await refused(otp.start(PHONE))).reason == "locked"
    mine = await otp.start(PHONE, device=device)
    result = await otp.verify(mine.id, wrong(sms.code()), phone=PHONE, device=device)
    assert result.attempts_left == 4
    result = await otp.verify(mine.id, sms.code(), phone=PHONE, device=device)
    assert result.ok
    assert result.device is not None
    # The stranger's lock is not lifted by it.
    assert (await refused(otp.start(PHONE))).reason == "locked"


async def test_a_device_has_its_own_cooldown_and_phone_cap(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """What strangers ask for does not use up what the owner may ask for."""
    otp = make_otp(sms, store, purposes=LOGIN_AND_PAY, guard=Guard(per_phone="2/1h"))
    challenge = await otp.start(PHONE, "pay")
    device = (await otp.verify(challenge.id, sms.code(), phone=PHONE, purpose="pay")).device
    await otp.start(PHONE, "pay")
    assert (await refused(otp.start(PHONE, "login"))).reason == "cooldown"
    clock.advance(30)
    assert (await refused(otp.start(PHONE, "login"))).reason == "phone"
    mine = await otp.start(PHONE, "login", device=device)
    assert mine.status is Status.ACCEPTED
    assert (await refused(otp.resend(mine.id, phone=PHONE, device=device))).reason == "cooldown"


async def test_a_forged_or_foreign_device_is_none(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """Another phone's cookie, a changed one and one of 90 days ago are no cookies."""
    otp = make_otp(sms, store)
    device = await log_in(otp, sms)
    foreign = await log_in(otp, sms, OTHER)
    changed = ("B" if device[0] == "A" else "A") + device[1:]
    challenge = await otp.start(PHONE)
    for _ in range(5):
        await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE)
    for cookie in (foreign, changed, "", "x", device[:-1], device + "A"):
        assert (await refused(otp.start(PHONE, device=cookie))).reason == "locked"
    await otp.start(PHONE, device=device)
    clock.advance(90 * 86400)
    again = make_otp(sms, store)
    challenge = await again.start(PHONE)
    for _ in range(5):
        await again.verify(challenge.id, wrong(sms.code()), phone=PHONE)
    assert (await refused(again.start(PHONE, device=device))).reason == "locked"


async def test_a_device_is_not_the_key_of_its_owner(store: OtpStore, sms: Gateway) -> None:
    """Wrong codes of a device lock it, and count towards the hundred of the phone."""
    otp = make_otp(sms, store)
    device = await log_in(otp, sms)
    challenge = await otp.start(PHONE, device=device)
    for _ in range(5):
        await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE, device=device)
    assert (await refused(otp.start(PHONE, device=device))).reason == "locked"
    assert (await otp.start(PHONE)).status is Status.ACCEPTED


async def test_a_hundred_failures_lock_all_devices(store: OtpStore, sms: Gateway) -> None:
    """Over all devices a phone allows a hundred failures without a success."""
    otp = make_otp(sms, store, guard=NO_GUARD, resend_after=(0,))
    devices = [await log_in(otp, sms) for _ in range(21)]
    reasons = []
    for device in devices:
        challenge = await otp.start(PHONE)
        for _ in range(5):
            result = await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE, device=device)
            reasons.append(result.reason)
        if reasons.count("wrong") == 100:
            assert (result.attempts_left, result.retry_after) == (0, None)
            break
    assert reasons == ["wrong"] * 100
    assert (await refused(otp.start(PHONE))).reason == "locked"
    assert (await refused(otp.start(PHONE, device=devices[-1]))).reason == "locked"
    result = await otp.verify(challenge.id, sms.code(), phone=PHONE, device=devices[-1])
    assert result.reason == "locked"


async def test_a_success_starts_the_hundred_over(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """A success on one device clears the failures of all towards the hundred, and no lock."""
    purpose = Purpose(TEMPLATE, attempts=10, lock=(1,))
    otp = make_otp(sms, store, purposes={"login": purpose}, guard=NO_GUARD, resend_after=(0,))
    device = await log_in(otp, sms)
    for _ in range(2):
        challenge = await otp.start(PHONE)
        for _ in range(9):
            for _ in range(10):
                result = await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE)
                assert result.reason == "wrong"
            clock.advance(1)
        mine = await otp.start(PHONE, device=device)
        assert (await otp.verify(mine.id, sms.code(), phone=PHONE, device=device)).ok
    challenge = await otp.start(PHONE)
    result = await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE)
    assert result.attempts_left == 9


# Rules 7 and 8.


async def test_sends_are_numbered(store: OtpStore, sms: Gateway, clock: Clock) -> None:
    """Start and resends send the same code under RequestIds of their own, and join in one end."""
    otp = make_otp(sms, store, guard=NO_GUARD)
    challenge = await otp.start(PHONE)
    first = sms.code()
    ends = {challenge.expires_at}
    for wait in (30, 60, 120):
        clock.advance(wait - 1)
        error = await refused(otp.resend(challenge.id, phone=PHONE))
        assert (error.reason, error.retry_after) == ("cooldown", 1)
        clock.advance(1)
        challenge = await otp.resend(challenge.id, phone=PHONE)
        assert challenge.status is Status.ACCEPTED
        ends.add(challenge.expires_at)
        assert sms.code() == first
    assert challenge.resend_after == 300
    assert len(ends) == 1
    assert len(sms.sms) == 4
    assert sms.resumed == []


async def test_a_resend_near_the_end_is_expired(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """With under 60 s left there is nothing to resend: start again."""
    otp = make_otp(sms, store)
    challenge = await otp.start(PHONE)
    clock.advance(240.001)
    error = await refused(otp.resend(challenge.id, phone=PHONE))
    assert (error.reason, error.retry_after) == ("expired", None)
    assert (await otp.verify(challenge.id, sms.code(), phone=PHONE)).ok


async def test_an_id_of_an_earlier_flow_is_expired(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """Neither resend nor verify takes it for the flow that lives now, whose bind is the same."""
    otp = make_otp(sms, store, guard=NO_GUARD)
    old = await otp.start(PHONE)
    clock.advance(301)
    new = await otp.start(PHONE)
    clock.advance(60)
    assert (await refused(otp.resend(old.id, phone=PHONE))).reason == "expired"
    for _ in range(6):
        assert (await otp.verify(old.id, sms.code(), phone=PHONE)).reason == "expired"
    assert (await otp.resend(new.id, phone=PHONE)).status is Status.ACCEPTED
    assert (await otp.verify(new.id, sms.code(), phone=PHONE)).ok


async def test_templates_take_turns(store: OtpStore, sms: Gateway, clock: Clock) -> None:
    """The n-th send takes the n-th text, and the first one after the last."""
    purpose = Purpose(("A {code}", "B {code}"), ttl=600)
    otp = make_otp(sms, store, purposes={"login": purpose}, guard=NO_GUARD, resend_after=(30,))
    challenge = await otp.start(PHONE)
    for _ in range(2):
        clock.advance(30)
        await otp.resend(challenge.id, phone=PHONE)
    assert [(message.content or "")[0] for message in sms.sends] == ["A", "B", "A"]


async def test_an_unknown_send_is_resumed_before_the_next_number(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """A lost answer is `unknown`; a start joins it, a resend resumes it under the same id."""
    otp = make_otp(sms, store, guard=NO_GUARD)
    sms.fail(unknown, arrives=True)
    challenge = await otp.start(PHONE)
    assert challenge.status is Status.UNKNOWN
    assert (await otp.start(PHONE)).status is Status.UNKNOWN
    assert (await refused(otp.resend(challenge.id, phone=PHONE))).reason == "cooldown"
    clock.advance(30)
    assert (await otp.start(PHONE)).status is Status.UNKNOWN
    assert len(sms.sends) == 1
    sms.fail(unknown)
    assert (await otp.resend(challenge.id, phone=PHONE)).status is Status.UNKNOWN
    clock.advance(30)
    assert (await otp.resend(challenge.id, phone=PHONE)).status is Status.ACCEPTED
    assert len(sms.resumed) == 2
    assert len(sms.sms) == 1
    clock.advance(30)
    assert (await otp.resend(challenge.id, phone=PHONE)).status is Status.ACCEPTED
    assert len(sms.sms) == 2


async def test_124_means_accepted(store: OtpStore, sms: Gateway) -> None:
    """Nobody else uses the RequestId, so "seen before" is acceptance."""
    otp = make_otp(sms, store)
    sms.fail(lambda m: DuplicateRequestId(m, (), "seen before"), arrives=True)
    assert (await otp.start(PHONE)).status is Status.ACCEPTED


@pytest.mark.parametrize(
    "error",
    [
        not_sent,
        rejected,
        lambda m: AccountRejected(m, (), code="103", status=200),
        lambda m: LedgerError("away"),
        lambda m: InvalidMessage("content", "bad"),
    ],
    ids=["not sent", "rejected", "account", "ledger", "invalid"],
)
async def test_what_was_not_sent_is_raised_and_given_back(
    store: OtpStore, sms: Gateway, error: Callable[[Message], EsmsError], clock: Clock
) -> None:
    """NotSent and Rejected give phone cap and cooldown back; the next start is the next number."""
    otp = make_otp(sms, store, guard=Guard(per_phone="2/1h"))
    for _ in range(5):
        sms.fail(error)
        with pytest.raises(type(error(a_message()))):
            await otp.start(PHONE)
    challenge = await otp.start(PHONE)
    assert challenge.status is Status.ACCEPTED
    assert challenge.resend_after == 30
    ids = [message.request_id for message in sms.sends]
    assert len(set(ids)) == 6
    clock.advance(30)
    await otp.resend(challenge.id, phone=PHONE)
    clock.advance(60)
    assert (await refused(otp.resend(challenge.id, phone=PHONE))).reason == "phone"
    assert len({message.content for message in sms.sends}) == 1


async def test_a_resumed_send_that_is_not_sent_stays_unknown(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """Nothing that a later attempt meets proves that the first one did not arrive."""
    otp = make_otp(sms, store)
    sms.fail(unknown, arrives=True)
    challenge = await otp.start(PHONE)
    for error in (
        not_sent,
        lambda m: LedgerError("away"),
        lambda m: RequestIdConflict(m, (), "another text"),
    ):
        clock.advance(30)
        sms.fail(error)
        assert (await otp.resend(challenge.id, phone=PHONE)).status is Status.UNKNOWN
    clock.advance(30)
    sms.fail(rejected)
    with pytest.raises(Rejected):  # which the client raises on proof alone
        await otp.resend(challenge.id, phone=PHONE)
    assert (await otp.start(PHONE)).status is Status.ACCEPTED


async def test_in_the_lease_others_send_nothing(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """While a send is under way others get `unknown`; after the lease one resumes the number."""
    otp = make_otp(sms, store)
    release = sms.hold()
    sending = asyncio.create_task(otp.start(PHONE))
    await sms.wait_for_send()
    other = make_otp(sms, store)
    challenge = await other.start(PHONE)
    assert challenge.status is Status.UNKNOWN
    clock.advance(14.999)
    assert (await other.start(PHONE)).status is Status.UNKNOWN
    assert (await other.resend(challenge.id, phone=PHONE)).status is Status.UNKNOWN
    assert len(sms.sends) == 1
    clock.advance(0.001)
    assert (await other.start(PHONE)).status is Status.ACCEPTED
    assert len(sms.resumed) == 1
    release.set()
    assert (await sending).status is Status.ACCEPTED
    assert len(sms.sms) == 1


async def test_the_outcome_of_a_lost_claim_does_not_undo_a_later_one(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """Who was overtaken after its lease can bring acceptance, and nothing else."""
    otp = make_otp(sms, store)
    held = asyncio.Event()

    async def fail_late(message: Message) -> Receipt:
        await held.wait()
        raise not_sent(message)

    sms.script.append(fail_late)
    slow = asyncio.create_task(otp.start(PHONE))
    await sms.wait_for_send()
    clock.advance(15)
    challenge = await otp.start(PHONE)
    assert challenge.status is Status.ACCEPTED
    held.set()
    with pytest.raises(NotSent):
        await slow
    assert (await otp.start(PHONE)).status is Status.ACCEPTED
    assert len(sms.sends) == 2
    assert (await refused(otp.resend(challenge.id, phone=PHONE))).reason == "cooldown"


async def test_the_outcome_of_an_earlier_number_is_not_that_of_the_latest(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """What comes late of send 1 says nothing about send 2, nor about another flow."""
    otp = make_otp(sms, store)
    challenge = await otp.start(PHONE)
    clock.advance(30)
    sms.hold()
    resending = asyncio.create_task(otp.resend(challenge.id, phone=PHONE))
    await sms.wait_for_send(2)
    bind, gen = rules.read_id(challenge.id)
    gid = rules.gen_hash(gen)
    for number, flow in ((1, gid), (2, "another"), (3, gid)):
        await store.settle(rules.Settling(bind.hex(), flow, number, "x", "accepted"))
        assert (await otp.start(PHONE)).status is Status.UNKNOWN
    await store.settle(rules.Settling(bind.hex(), gid, 2, "x", "accepted"))
    assert (await otp.start(PHONE)).status is Status.ACCEPTED
    for task in otp._tasks:
        task.cancel()
    await asyncio.gather(resending, return_exceptions=True)


async def test_a_resumed_send_counts_when_it_is_made(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """Cooldown and window of the phone begin with it, because the SMS may leave only now."""
    otp = make_otp(sms, store, guard=Guard(per_phone="1/1h"))
    sms.fail(unknown)
    challenge = await otp.start(PHONE)
    clock.advance(100)
    resumed = await otp.resend(challenge.id, phone=PHONE)
    assert (resumed.status, resumed.resend_after) == (Status.ACCEPTED, 30)
    clock.advance(3500)
    error = await refused(otp.start(PHONE))
    assert (error.reason, error.retry_after) == ("phone", 100)
    clock.advance(100)
    await otp.start(PHONE)


async def test_a_cancelled_caller_does_not_cancel_the_send(store: OtpStore, sms: Gateway) -> None:
    """The SMS goes out, and the next start joins it."""
    otp = make_otp(sms, store)
    release = sms.hold()
    caller = asyncio.create_task(otp.start(PHONE))
    await sms.wait_for_send()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    release.set()
    await otp.aclose()  # finishes what is under way
    assert len(sms.sms) == 1
    assert (await otp.start(PHONE)).status is Status.ACCEPTED
    assert len(sms.sends) == 1


# Rule 9.


async def test_the_cooldown_is_of_the_phone_over_all_purposes(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """It grows with the sends of the last hour, and success clears it."""
    otp = make_otp(sms, store, purposes=LOGIN_AND_PAY, guard=NO_GUARD)
    await otp.start(PHONE, "login")
    error = await refused(otp.start(PHONE, "pay"))
    assert (error.reason, error.retry_after) == ("cooldown", 30)
    assert (await otp.start(OTHER, "pay")).status is Status.ACCEPTED
    clock.advance(30)
    challenge = await otp.start(PHONE, "pay")
    assert challenge.resend_after == 60
    clock.advance(300)
    for wait in (120, 300, 300):
        challenge = await otp.start(PHONE, "login")
        assert challenge.resend_after == wait
        clock.advance(300)
    clock.advance(3600)
    challenge = await otp.start(PHONE, "login")
    assert challenge.resend_after == 30
    assert (await otp.verify(challenge.id, sms.code(), phone=PHONE, purpose="login")).ok
    assert (await otp.start(PHONE, "pay")).resend_after == 30


async def test_no_window_holds_more_than_the_cap(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """Over two days of asking every minute no 10 minutes hold 4 sends to a phone, no day 11."""
    otp = make_otp(sms, store, resend_after=(0,), guard=Guard(conversion=0, total=None))
    sent: list[float] = []
    reasons: set[str] = set()
    for _ in range(2 * 24 * 60 // 7):
        try:
            challenge = await otp.start(PHONE)
        except OtpRefused as error:
            reasons.add(error.reason)
        else:
            sent.append(clock.now)
            await otp.verify(challenge.id, sms.code(), phone=PHONE)
        clock.advance(7 * 60)
    for most, window in ((3, 600), (10, 86400)):
        assert max(sum(at <= one < at + window for one in sent) for at in sent) <= most
    assert len(sent) == 20
    assert reasons == {"phone"}


async def test_a_phone_cap_tells_when_it_ends(store: OtpStore, sms: Gateway, clock: Clock) -> None:
    """A refused call that waits as long as it is told to is not refused again."""
    otp = make_otp(sms, store, resend_after=(0,))
    for _ in range(3):
        challenge = await otp.start(PHONE)
        await otp.verify(challenge.id, sms.code(), phone=PHONE)
        clock.advance(10)
    error = await refused(otp.start(PHONE))
    assert (error.reason, error.retry_after) == ("phone", 570)
    clock.advance(569.999)
    await refused(otp.start(PHONE))
    clock.advance(0.001)
    await otp.start(PHONE)


async def test_an_address_has_a_cap(store: OtpStore, sms: Gateway, clock: Clock) -> None:
    """Twenty sends an hour for one address; another one, and none, are not bound by it."""
    otp = make_otp(sms, store)
    for number in range(20):
        await otp.start(f"0911{number:06}", ip=IP)
    error = await refused(otp.start(PHONE, ip=IP))
    assert error.reason == "ip"
    assert error.retry_after
    assert 0 < error.retry_after <= 3600 * 1.1
    assert (await refused(otp.start(PHONE, ip=f"::ffff:{IP}"))).reason == "ip"
    await otp.start(PHONE, ip="203.0.113.8")
    await otp.start(OTHER)
    clock.advance(error.retry_after)
    await otp.start("0911000099", ip=IP)


async def test_no_window_holds_more_than_the_cap_of_an_address(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """Whatever the moments, no hour holds more than the cap."""
    otp = make_otp(sms, store, guard=Guard(per_phone=None, per_ip="5/1h", conversion=0))
    sent: list[float] = []
    reasons: set[str] = set()
    for number in range(150):
        try:
            await otp.start(f"0911{number:06}", ip=IP)
        except OtpRefused as error:
            reasons.add(error.reason)
        else:
            sent.append(clock.now)
        clock.advance(97)
    assert max(sum(at <= one < at + 3600 for one in sent) for at in sent) == 5
    assert len(sent) >= 15
    assert reasons == {"ip"}


async def test_ipv6_counts_by_network(store: OtpStore, sms: Gateway) -> None:
    """Addresses of one /64 are one; those of a /48 have five times the cap together."""
    otp = make_otp(sms, store, guard=Guard(per_ip="3/1h", per_phone=None))
    numbers = iter(range(1000))

    async def start(ip: str) -> None:
        await otp.start(f"0911{next(numbers):06}", ip=ip)

    for host in range(3):
        await start(f"2001:db8:0:1::{host + 1:x}")
    assert (await refused(start("2001:db8:0:1:ffff::9"))).reason == "ip"
    for network in range(2, 6):
        for host in range(3):
            await start(f"2001:db8:0:{network:x}::{host + 1:x}")
    assert (await refused(start("2001:db8:0:9::1"))).reason == "ip"
    await start("2001:db8:1:1::1")
    for _ in range(3):
        await start("not an address")
    assert (await refused(start("not an address"))).reason == "ip"
    await start("")


async def test_a_prefix_can_have_a_cap(store: OtpStore, sms: Gateway) -> None:
    """The phones that share three digits can be bound together, and the others are not."""
    otp = make_otp(sms, store, guard=Guard(per_prefix="2/1h"))
    await otp.start("0911000001")
    await otp.start("0911000002")
    assert (await refused(otp.start("0911000003"))).reason == "prefix"
    await otp.start("0921000003")


async def test_all_sends_have_a_cap_that_known_devices_pass(store: OtpStore, sms: Gateway) -> None:
    """`total` counts everything; success does not give it back."""
    otp = make_otp(sms, store, guard=Guard(total="2/1h"))
    device = await log_in(otp, sms)
    await otp.start("0911000001")
    assert (await refused(otp.start("0921000002"))).reason == "total"
    assert (await refused(otp.start(PHONE))).reason == "total"
    await otp.start(PHONE, device=device)


async def test_success_gives_back_what_its_address_counted(store: OtpStore, sms: Gateway) -> None:
    """Behind one NAT forty people each mistype twice and log in: no cap is reached."""
    otp = make_otp(sms, store)
    for number in range(40):
        phone = f"0911{number:06}"
        challenge = await otp.start(phone, ip=IP)
        for _ in range(2):
            result = await otp.verify(challenge.id, wrong(sms.code(phone)), phone=phone, ip=IP)
            assert result.reason == "wrong"
        assert (await otp.verify(challenge.id, sms.code(phone), phone=phone, ip=IP)).ok
    # The phone's own cap is not given back.
    for _ in range(2):
        challenge = await otp.start(phone, ip=IP)
        assert (await otp.verify(challenge.id, sms.code(phone), phone=phone, ip=IP)).ok
    assert (await refused(otp.start(phone, ip=IP))).reason == "phone"


async def test_wrong_codes_of_one_address_are_bound(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """One guess at many phones: the 21st from an address is `locked` and not compared."""
    otp = make_otp(sms, store)
    challenges = {f"0911{n:06}": await otp.start(f"0911{n:06}") for n in range(22)}
    phones = iter(challenges)
    for _ in range(20):
        phone = next(phones)
        result = await otp.verify(challenges[phone].id, wrong(sms.code(phone)), phone=phone, ip=IP)
        assert result.reason == "wrong"
    phone = next(phones)
    result = await otp.verify(challenges[phone].id, sms.code(phone), phone=phone, ip=IP)
    assert (result.reason, result.attempts_left) == ("locked", 0)
    assert result.retry_after
    assert result.retry_after <= 3600 * 1.1
    # Nothing was counted against the phone, and another address may go on.
    result = await otp.verify(
        challenges[phone].id, wrong(sms.code(phone)), phone=phone, ip="203.0.113.8"
    )
    assert result.attempts_left == 4
    assert (await otp.verify(challenges[phone].id, sms.code(phone), phone=phone)).ok
    clock.advance(result.retry_after or 3960)
    other = await otp.start(PHONE)
    assert (await otp.verify(other.id, sms.code(), phone=PHONE, ip=IP)).ok


# Rule 10.


async def test_the_breaker_opens_on_sends_that_nobody_enters(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """Ten unverified sends of a range, and the next one is `fraud`; devices and others pass."""
    otp = make_otp(sms, store, guard=Guard(conversion_floor=10))
    device = await log_in(otp, sms, "0911999999")
    for number in range(10):
        await otp.start(f"0911{number:06}")
    error = await refused(otp.start("0911000099"))
    assert error.reason == "fraud"
    assert error.retry_after
    assert 0 < error.retry_after <= 3600 * 1.1
    await otp.start("0921000099")
    await otp.start("0911999999", device=device)
    clock.advance(error.retry_after)
    await otp.start("0911000099")


async def test_verified_sends_allow_more_unverified_ones(store: OtpStore, sms: Gateway) -> None:
    """With a conversion of 0.2 there may be four unverified sends for each verified one."""
    otp = make_otp(sms, store, guard=Guard(conversion_floor=1))
    for number in range(3):
        await log_in(otp, sms, f"0911{number:06}")
    for number in range(3, 15):
        await otp.start(f"0911{number:06}")
    assert (await refused(otp.start("0911000015"))).reason == "fraud"


async def test_the_breaker_can_be_turned_off(store: OtpStore, sms: Gateway) -> None:
    """A conversion of 0 is no breaker."""
    otp = make_otp(sms, store, guard=Guard(conversion=0, conversion_floor=1))
    for number in range(5):
        await log_in(otp, sms, f"0911{number:06}")
        await otp.start(f"0911{number:06}")


async def test_refusals_come_in_order(store: OtpStore, sms: Gateway, clock: Clock) -> None:
    """Locked, cooldown, phone, ip, prefix, fraud, total."""
    one = "1/1h"
    options = {"per_phone": one, "per_ip": one, "per_prefix": one, "total": one}
    reasons = []
    for name in (None, "per_phone", "per_ip", "per_prefix", "conversion"):
        if name is not None:
            options[name] = None if name != "conversion" else 0  # type: ignore[assignment]  # a number
        guard = Guard(conversion_floor=1, **options)  # type: ignore[arg-type]  # the same
        otp = make_otp(sms, store, guard=guard, purposes=LOGIN_AND_PAY)
        if name is None:
            challenge = await otp.start(PHONE, "login", ip=IP)
            reasons.append((await refused(otp.start(PHONE, "pay", ip=IP))).reason)
            clock.advance(30)
        reasons.append((await refused(otp.start(PHONE, "pay", ip=IP))).reason)
    assert reasons == ["cooldown", "phone", "ip", "prefix", "fraud", "total"]
    for _ in range(5):
        await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE, purpose="login")
    assert (await refused(otp.start(PHONE, "login", ip=IP))).reason == "locked"


async def test_a_refused_call_counts_nothing(store: OtpStore, sms: Gateway, clock: Clock) -> None:
    """Asking in vain a hundred times does not make the wait longer."""
    otp = make_otp(sms, store, purposes=LOGIN_AND_PAY)
    await otp.start(PHONE, "login", ip=IP)
    for _ in range(100):
        assert (await refused(otp.start(PHONE, "pay", ip=IP))).retry_after == 30
    clock.advance(30)
    await otp.start(PHONE, "pay", ip=IP)


# Rules 14 and 15.


async def test_test_numbers_get_no_sms(store: OtpStore, sms: Gateway, clock: Clock) -> None:
    """Their fixed code is right, nothing is sent, and all limits hold."""
    otp = make_otp(sms, store, test_numbers={"+84901888484": "424242"})
    challenge = await otp.start(PHONE)
    assert challenge.status is Status.ACCEPTED
    assert (await refused(otp.resend(challenge.id, phone=PHONE))).reason == "cooldown"
    clock.advance(30)
    await otp.resend(challenge.id, phone=PHONE)
    result = await otp.verify(challenge.id, "111111", phone=PHONE)
    assert result.attempts_left == 4
    assert (await otp.verify(challenge.id, "424242", phone=PHONE)).ok
    assert sms.sends == []


async def test_a_decoy_looks_real(store: OtpStore, sms: Gateway, clock: Clock) -> None:
    """A decoy has id, end, cooldown and caps like a real start; nothing is sent or right."""
    otp = make_otp(sms, store)
    real = await otp.start(OTHER, wait=False)
    decoy = await otp.start(PHONE, decoy=True, wait=False)
    await otp.aclose()
    assert attrs.evolve(real, id="") == attrs.evolve(decoy, id="")
    assert len(real.id) == len(decoy.id)
    for phone, challenge, is_decoy in ((OTHER, real, False), (PHONE, decoy, True)):
        joined = await otp.start(phone, decoy=is_decoy)
        assert joined.status is Status.ACCEPTED
        assert (await refused(otp.resend(challenge.id, phone=phone))).reason == "cooldown"
    clock.advance(30)
    again = [await otp.resend(c.id, phone=p) for p, c in ((OTHER, real), (PHONE, decoy))]
    assert attrs.evolve(again[0], id="") == attrs.evolve(again[1], id="")
    guesses = [
        await otp.verify(c.id, wrong(sms.code(OTHER)), phone=p)
        for p, c in ((OTHER, real), (PHONE, decoy))
    ]
    assert guesses[0] == guesses[1]
    assert sms.per_phone() == {OTHER: 2}


async def test_a_real_start_does_not_join_a_decoy(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """Who signs up between gets an SMS."""
    otp = make_otp(sms, store)
    await otp.start(PHONE, decoy=True)
    clock.advance(30)
    challenge = await otp.start(PHONE)
    assert (await otp.verify(challenge.id, sms.code(), phone=PHONE)).ok


async def test_wait_false_does_not_wait(store: OtpStore, sms: Gateway) -> None:
    """The challenge comes before the gateway's answer; a failure of the send is not reported."""
    otp = make_otp(sms, store)
    release = sms.hold()
    challenge = await otp.start(PHONE, wait=False)
    assert challenge.status is Status.UNKNOWN
    release.set()
    await otp.aclose()
    assert (await otp.verify(challenge.id, sms.code(), phone=PHONE)).ok
    sms.fail(not_sent)
    assert (await otp.start(PHONE, wait=False)).status is Status.UNKNOWN
    await otp.aclose()
    assert (await otp.start(PHONE)).status is Status.ACCEPTED


async def test_a_resend_need_not_wait(store: OtpStore, sms: Gateway, clock: Clock) -> None:
    """With `wait=False` the next send begins, and its challenge comes before its answer."""
    otp = make_otp(sms, store)
    challenge = await otp.start(PHONE)
    clock.advance(30)
    release = sms.hold()
    again = await otp.resend(challenge.id, phone=PHONE, wait=False)
    assert again.status is Status.UNKNOWN
    release.set()
    await otp.aclose()
    assert len(sms.sends) == 2
    assert (await otp.verify(again.id, sms.code(), phone=PHONE)).ok


async def test_a_purpose_that_a_process_lacks(store: OtpStore, sms: Gateway, clock: Clock) -> None:
    """A resend of a challenge of that purpose is refused there as expired, and sends nothing."""
    challenge = await make_otp(sms, store, purposes=LOGIN_AND_PAY).start(PHONE, "pay")
    clock.advance(30)
    lacking = make_otp(sms, store, purposes={"login": Purpose(TEMPLATE)})
    assert (await refused(lacking.resend(challenge.id, phone=PHONE))).reason == "expired"
    assert len(sms.sends) == 1


# The store and the key.


async def test_what_a_process_knows_is_what_the_next_one_knows(
    make_store: MakeStore, sms: Gateway
) -> None:
    """Codes, counts and locks are in the store."""
    async with make_otp(sms, make_store()) as otp:
        challenge = await otp.start(PHONE)
        for _ in range(4):
            await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE)
    async with make_otp(sms, make_store()) as otp:
        result = await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE)
        assert (result.attempts_left, result.retry_after) == (0, 900)
    async with make_otp(sms, make_store()) as otp:
        assert (await refused(otp.start(PHONE))).reason == "locked"


async def test_otp_opens_and_closes_a_store_that_is_not_open(
    make_store: MakeStore, sms: Gateway
) -> None:
    """A store that is open already stays its owner's."""
    store = make_store()
    async with make_otp(sms, store) as otp:
        assert store.is_open
        await otp.start(PHONE)
    assert not store.is_open
    late = make_otp(sms, store)
    await late.start(PHONE)
    assert store.is_open
    await late.aclose()
    assert not store.is_open
    async with store:
        async with make_otp(sms, store):
            pass
        assert store.is_open


async def test_a_bad_phone_is_an_error_that_masks_it(store: OtpStore, sms: Gateway) -> None:
    """What is no Vietnamese mobile number is InvalidMessage, before anything is counted."""
    otp = make_otp(sms, store)
    for call in (
        otp.start("0281234567"),
        otp.resend("x", phone="0281234567"),
        otp.verify("x", "1", phone="0281234567"),
        otp.start(None),  # type: ignore[arg-type]  # what an untyped caller passes
    ):
        with pytest.raises(InvalidMessage, match="phone") as caught:
            await call
        assert "0281234567" not in str(caught.value)


def test_key_is_long_enough() -> None:
    """The key of these tests is the shortest that is taken."""
    assert len(KEY) == 32


def test_a_request_id_is_never_taken_for_a_minted_one() -> None:
    """It is a hash, and a hash in the form of a minted id would tell a false age to `resume`."""
    ids = [rules.request_id_of(KEY, b"bind", b"gen", number) for number in range(1000)]
    assert len(set(ids)) == 1000
    assert {minted_at(request_id) for request_id in ids} == {None}
