"""RequestIds: new ones never repeat, derived ones always do, and no two keys share one."""

import enum
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from itertools import pairwise
from uuid import RFC_4122, UUID

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from esms_async import InvalidMessage, Message, derive_request_id, new_request_id
from esms_async._model.request_ids import minted_at
from tests.limits import generous

Part = str | int | bytes | UUID

SOME_UUID = UUID("12345678-1234-5678-1234-567812345678")
# What was derived once must be derived for ever: a changed value here sends messages twice.
GOLDEN: dict[str, tuple[Part, ...]] = {
    "80b01f9068612539bc604367fd980fe008161303": ("login", 42, "c1"),
    "716b5fe2c9e615928c509539dabf018fb3b995b0": ("",),
    "0870fa3449eca3316a6e2b08350d6b56695456a8": (0,),
    "dff7e266cf9a8d443c13895a5f2ffd4e572e56eb": (-7, b"\x00\xff"),
    "266a531091ad37b0b8e5b4d86b797a2649451cab": ("ma xac minh", "Tiếng Việt 😀"),
    "dec22be3beca68b290327632250bb59a3db08236": (SOME_UUID,),
    "ee0512ffed6e7ddac0d597db82240b4156d2a999": (10**30,),
}


class Purpose(enum.StrEnum):
    """What a code is for."""

    LOGIN = "login"


class Tenant(enum.IntEnum):
    """Who sends it."""

    FIRST = 42


def run_python(program: str, **environment: str) -> list[str]:
    """Run a program in a Python of its own and return the words it prints."""
    path = os.pathsep.join(sys.path)
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path, **environment},
        check=True,
        capture_output=True,
        text=True,
        timeout=generous(60),
    )
    return run.stdout.split()


def test_new_ids_are_unique_and_valid() -> None:
    """New ids differ from each other, and a Message takes each."""
    ids = [new_request_id() for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in ids)
    assert Message("0901888484", "x", request_id=ids[0]).request_id == ids[0]


def test_a_new_id_is_a_uuid_of_version_7() -> None:
    """RFC 9562, sections 5.7 and 6.2: version, variant, time, order, and 62 bits at random."""
    before = time.time_ns() // 1_000_000
    ids = [UUID(new_request_id()) for _ in range(2_000)]
    after = time.time_ns() // 1_000_000
    assert {one.version for one in ids} == {7}
    assert {one.variant for one in ids} == {RFC_4122}
    assert all(before <= one.int >> 80 <= after for one in ids)
    # The twelve bits behind the version are the fraction of the millisecond.
    assert [one.int >> 64 for one in ids] == sorted(one.int >> 64 for one in ids)
    for bit in range(62):
        assert {one.int >> bit & 1 for one in ids} == {0, 1}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_new_ids_are_unique_across_forks() -> None:
    """Processes forked from one another, some of them in between, never draw the same id."""
    ids = run_python(
        "import os\n"
        "from esms_async import new_request_id\n"
        "drawn = [new_request_id()]\n"
        "children = []\n"
        "for _ in range(3):\n"
        "    child = os.fork()\n"
        "    if child: children.append(child)\n"
        "    else: children, drawn = [], []\n"
        "    drawn += [new_request_id() for _ in range(1000)]\n"
        "for child in children: os.waitpid(child, 0)\n"
        # A pipe takes 4,096 bytes in one piece, whoever else writes.
        "for start in range(0, len(drawn), 100):\n"
        "    os.write(1, ' '.join([*drawn[start:start + 100], '']).encode())\n"
    )
    # Eight processes: the first draws 1 + 3,000, and the others as many thousands as they see.
    assert len(ids) == 1 + 1000 * (3 + 3 + 2 + 2 + 1 + 1 + 1 + 1)
    assert len(set(ids)) == len(ids)
    # What comes at random alone would do, too.
    assert len({one[16:] for one in ids}) == len(ids)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_forked_workers_of_a_server_draw_different_ids() -> None:
    """As a pre-forking server does it: many workers from one parent, all at the same time."""
    ids = run_python(
        "import multiprocessing\n"
        "from esms_async import new_request_id\n"
        "def draw(barrier, pipe):\n"
        "    barrier.wait()\n"
        "    pipe.send([new_request_id() for _ in range(1000)])\n"
        "context = multiprocessing.get_context('fork')\n"
        "barrier = context.Barrier(8)\n"
        "pipes = [context.Pipe(False) for _ in range(8)]\n"
        "workers = [context.Process(target=draw, args=(barrier, end)) for _, end in pipes]\n"
        "for worker in workers: worker.start()\n"
        "for pipe, _ in pipes: print(*pipe.recv())\n"
        "for worker in workers: worker.join()\n"
    )
    assert len(ids) == 8000
    assert len({one[16:] for one in ids}) == 8000


@pytest.mark.parametrize(("derived", "parts"), GOLDEN.items(), ids=map(str, GOLDEN.values()))
def test_golden_ids(derived: str, parts: tuple[Part, ...]) -> None:
    """The same parts give the id that earlier versions gave."""
    assert derive_request_id(*parts) == derived


def test_the_derivation_is_as_specified() -> None:
    """An id is 160 bits of SHA-256 over each part with its type and its length."""
    data = b"esms_async request id, version 1" + b"s5:login" + b"i2:42" + b"b3:\x00\x01\x02"
    expected = sha256(data + b"u16:" + SOME_UUID.bytes).hexdigest()[:40]
    assert derive_request_id("login", 42, b"\x00\x01\x02", SOME_UUID) == expected


@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_derived_ids_are_the_same_in_another_process(seed: str) -> None:
    """Another process, whatever its hash seed, derives the same ids."""
    program = (
        "from uuid import UUID\n"
        "from esms_async import derive_request_id\n"
        f"for parts in {list(GOLDEN.values())!r}:\n"
        "    print(derive_request_id(*parts))\n"
    )
    assert run_python(program, PYTHONHASHSEED=seed) == list(GOLDEN)


def test_derived_ids_are_valid() -> None:
    """A Message takes a derived id."""
    derived = derive_request_id("login", 42)
    assert Message("0901888484", "x", request_id=derived).request_id == derived


def test_members_of_enums_count_as_their_values() -> None:
    """A member of a StrEnum or an IntEnum derives the same id as its value."""
    assert derive_request_id(Purpose.LOGIN, Tenant.FIRST) == derive_request_id("login", 42)


part = st.one_of(
    st.text(st.characters(), max_size=8),
    st.integers(),
    st.binary(max_size=8),
    st.uuids(),
)
parts_of_a_key = st.lists(part, min_size=1, max_size=4).map(tuple)


def typed(parts: tuple[Part, ...]) -> list[tuple[type, Part]]:
    """Tell 1 from "1", which tuples of parts do not."""
    return [(type(one), one) for one in parts]


@given(parts_of_a_key, parts_of_a_key)
@example(("ab", "c"), ("a", "bc"))
@example(("abc",), ("ab", "c"))
@example(("a", ""), ("a",))
@example(("", "a"), ("a", ""))
@example((1,), ("1",))
@example(("1",), (b"1",))
@example((1, 2), (12,))
@example((-1,), (1,))
@example((0,), ("",))
@example((SOME_UUID,), (SOME_UUID.bytes,))
@example((SOME_UUID,), (str(SOME_UUID),))
@example((SOME_UUID,), (SOME_UUID.int,))
@example(("as1:b",), ("a", "b"))
@example(("a1:b",), ("a", "1:b"))
@example(("é",), ("e\u0301",))
@example(("\ud800",), ("\ufffd",))
@example(("\ud800",), ("?",))
def test_different_keys_never_share_an_id(one: tuple[Part, ...], other: tuple[Part, ...]) -> None:
    """Two tuples share an id only where they are equal part by part, with their types."""
    assert (derive_request_id(*one) == derive_request_id(*other)) == (typed(one) == typed(other))


@given(st.text(min_size=1), st.lists(st.integers(0, 20)), st.lists(st.integers(0, 20)))
def test_the_borders_between_parts_count(text: str, cuts: list[int], others: list[int]) -> None:
    """One text cut into parts at different places gives different ids."""

    def cut(places: list[int]) -> list[str]:
        borders = [0, *sorted(places), len(text)]
        return [text[start:end] for start, end in pairwise(borders)]

    assume(cut(cuts) != cut(others))
    assert derive_request_id(*cut(cuts)) != derive_request_id(*cut(others))


@pytest.mark.parametrize(
    "refused",
    [
        None,
        True,
        False,
        1.5,
        Decimal(686868),
        bytearray(b"686868"),
        memoryview(b"686868"),
        ("686868",),
        ["686868"],
        {"686868"},
        datetime(2030, 1, 1, tzinfo=UTC),
        object(),
    ],
    ids=lambda refused: type(refused).__name__,
)
def test_parts_of_other_types_are_refused(refused: object) -> None:
    """A part whose text depends on more, or less, than its value is refused, and not shown."""
    with pytest.raises(InvalidMessage) as caught:
        derive_request_id("login", refused)  # type: ignore[arg-type]  # its refusal is the point
    assert caught.value.field == "request_id"
    assert str(caught.value) == (
        f"request_id: part 2 is of type {type(refused).__name__}; give str, int, bytes or UUID"
    )


def test_no_parts_are_refused() -> None:
    """An id derived from nothing would be shared by everybody, and is refused."""
    with pytest.raises(InvalidMessage, match="request_id: needs at least one part"):
        derive_request_id()


def test_an_integer_that_python_does_not_write_is_refused() -> None:
    """An integer of more digits than Python writes is refused like any other unfit part."""
    with pytest.raises(InvalidMessage, match="request_id: part 1 "):
        derive_request_id(10**5000)


def test_a_minted_id_tells_when_it_was_minted() -> None:
    """The time in an id is that of its minting, to less than a millisecond."""
    before = time.time()
    found = minted_at(new_request_id())
    assert found is not None
    assert before - 0.001 <= found <= time.time() + 0.001


@pytest.mark.parametrize(
    "request_id",
    [
        derive_request_id("order", 7),
        "order:7",
        new_request_id().upper() + "A",
        "0" * 32,
        new_request_id()[:-1],
        f"{new_request_id()}0",
        "ef3c5f4d19ab7c0a8b1d0e2f3a4b5c6d",
        "00c5f4d19ab07c0a8b1d0e2f3a4b5c6d",
    ],
    ids=[
        "derived",
        "given",
        "another case",
        "no version",
        "too short",
        "too long",
        "a hash, from the year 10314",
        "a hash, from the year 1996",
    ],
)
def test_an_id_of_another_form_tells_no_time(request_id: str) -> None:
    """Only an id of this package's own form is read as a time."""
    assert minted_at(request_id) is None
