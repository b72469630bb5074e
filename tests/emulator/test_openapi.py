"""The OpenAPI description against the interface itself, by generated requests."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esms_async.emulator import Emulator
from tests.emulator.caller import POST_SEND, Caller, connection

Schema = Mapping[str, Any]


def problem(  # noqa: PLR0911  # one for each way not to fit
    value: object, schema: Schema, schemas: Schema, at: str = "$"
) -> str | None:
    """Return where a value does not fit a JSON Schema, or None where it does."""
    if "$ref" in schema:
        return problem(value, schemas[schema["$ref"].rpartition("/")[2]], schemas, at)
    if "oneOf" in schema:
        found = [problem(value, each, schemas, at) for each in schema["oneOf"]]
        return None if found.count(None) == 1 else f"{at}: {found.count(None)} of oneOf fit"
    if "enum" in schema and value not in schema["enum"]:
        return f"{at}: {value!r} is not in {schema['enum']}"
    kinds: dict[str, tuple[type, ...]] = {
        "object": (dict,),
        "array": (list,),
        "string": (str,),
        "integer": (int,),
        "number": (int, float),
        "boolean": (bool,),
        "null": (type(None),),
    }
    kind = schema.get("type")
    if kind and not isinstance(value, kinds[kind]):
        return f"{at}: {value!r} is not of type {kind}"
    if kind in ("integer", "number") and isinstance(value, bool):
        return f"{at}: {value!r} is a boolean"
    if isinstance(value, dict):
        return _object_problem(cast("dict[str, object]", value), schema, schemas, at)
    if isinstance(value, list) and "items" in schema:
        for number, each in enumerate(cast("list[object]", value)):
            if found_in := problem(each, schema["items"], schemas, f"{at}[{number}]"):
                return found_in
    return None


def _object_problem(
    value: dict[str, object], schema: Schema, schemas: Schema, at: str
) -> str | None:
    properties = schema.get("properties", {})
    if missing := set(schema.get("required", ())) - set(value):
        return f"{at}: {missing} are missing"
    unknown = set(value) - set(properties)
    if unknown and properties and "additionalProperties" not in schema:
        return f"{at}: {unknown} are not described"
    for name, each in value.items():
        if name in properties:
            found = problem(each, properties[name], schemas, f"{at}.{name}")
            if found:
                return found
    return None


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Make values that a schema takes, and now and then others."""
    strange = st.one_of(st.none(), st.booleans(), st.text(max_size=5), st.integers(-5, 5))
    return st.one_of(fitting(schema), fitting(schema), fitting(schema), strange)


def fitting(schema: Schema) -> st.SearchStrategy[Any]:  # noqa: PLR0911  # one for each type
    """Make values that a schema takes."""
    if "oneOf" in schema:
        return st.one_of(*map(fitting, schema["oneOf"]))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "integer":
            return st.integers(schema.get("minimum", 0), schema.get("maximum", 100))
        case "number":
            return st.floats(schema.get("minimum", 0), schema.get("maximum", 100))
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "array":
            return st.lists(fitting(schema["items"]), max_size=3)
        case "object":
            properties = {name: values(each) for name, each in schema.get("properties", {}).items()}
            required = set(schema.get("required", ()))
            return st.fixed_dictionaries(
                {name: each for name, each in properties.items() if name in required},
                optional={name: each for name, each in properties.items() if name not in required},
            )
        case _:
            return st.text(st.characters(codec="utf-8"), max_size=12)


def description() -> Schema:
    """Return the description, from an emulator that does not run."""
    from esms_async.emulator.control import Control, describe  # noqa: PLC0415  # for this alone

    emulator, nothing = Emulator(), cast("Any", None)
    control = Control(
        emulator, gateway=nothing, faults=nothing, journal=emulator._journal, closing=nothing
    )
    return cast("Schema", json.loads(json.dumps(describe(control.operations, "1"))))


DESCRIPTION = description()
OPERATIONS = [
    (path, method)
    for path, methods in DESCRIPTION["paths"].items()
    for method in methods
    if path != "/events"
]


@pytest.fixture
async def busy() -> AsyncIterator[Caller]:
    """Calls an emulator in which there is something of everything."""
    async with Emulator() as emulator, Caller.to(emulator) as caller:
        await fill(caller)
        yield caller


async def fill(caller: Caller) -> None:
    """Have something of everything there: sends of each kind, faults, reports, mistakes."""
    await caller.send(RequestId="r-1", CallbackUrl="http://esms.example/")
    await caller.send(RequestId="r-1")
    await caller.send(Sandbox="1")
    await caller.send(Phone="0900000103")
    await caller.send(Content="Mã 686868 \u2013 ế", SendDate="2099-01-01 00:00:00")
    await caller.request("POST", POST_SEND, data=b"{")
    await caller.request("POST", "../../_emulator/faults", json={"spec": "reset,skip=99"})
    await caller.request("POST", "../../_emulator/faults", json={"spec": "code:103,times=1"})
    await caller.send()


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
async def test_every_answer_is_as_described(
    busy: Caller, path: str, method: str, data: st.DataObject
) -> None:
    """Whatever is asked, the answer has a described status and fits the schema of that status."""
    operation = DESCRIPTION["paths"][path][method]
    schemas = DESCRIPTION["components"]["schemas"]
    rows = (await busy.request("GET", "../../_emulator/messages?limit=1")).json["messages"]
    known = [rows[0]["sms_id"]] if rows else ["x"]
    faults = (await busy.request("GET", "../../_emulator/faults")).json["faults"]
    numbers = ["1", "x", *(str(each["number"]) for each in faults)]
    # Drawn by its place: what is there differs from one example to the next.
    pick = data.draw(st.integers(0, 5))
    sms_ids = [*known, "no"]
    target = path.replace("{sms_id}", sms_ids[pick % 2])
    target = target.replace("{number}", numbers[pick % len(numbers)])
    query: dict[str, str] = {}
    for parameter in operation["parameters"]:
        if parameter["in"] == "query" and data.draw(st.booleans()):
            value = data.draw(values(parameter["schema"]))
            # Nobody waits a minute for a message that does not come.
            query[parameter["name"]] = "0" if parameter["name"] == "timeout" else str(value)
    body = None
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        body = data.draw(values(schema))
    text = "&".join(f"{name}={quote(value)}" for name, value in query.items())
    options = {} if body is None else {"json": body}
    got = await busy.request(method.upper(), f"../../_emulator{target}?{text}", **options)
    described = operation["responses"]
    assert str(got.status) in described, got.text
    schema = described[str(got.status)]["content"]["application/json"]["schema"]
    assert problem(got.json, schema, schemas) is None


async def test_the_description_is_served_and_names_every_route(busy: Caller) -> None:
    """What can be asked is described, with the settings from their one declaration."""
    served = (await busy.request("GET", "../../_emulator/openapi.json")).json
    assert served["openapi"] == "3.1.0"
    assert set(served["paths"]) == set(DESCRIPTION["paths"])
    patch = served["paths"]["/state"]["patch"]["requestBody"]["content"]["application/json"]
    properties = patch["schema"]["properties"]
    assert properties["price"] == properties["settings"]["properties"]["price"]
    assert properties["price"] == {
        "type": "integer",
        "minimum": 0,
        "maximum": 10**12,
        "default": 850,
        "description": "The price of one accepted SMS, in dong.",
    }
    names = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(served)))
    assert names == set(served["components"]["schemas"])


def test_a_value_that_does_not_fit_is_found() -> None:
    """A checker that took anything would prove nothing."""
    schemas = DESCRIPTION["components"]["schemas"]
    good = {"now": "x", "running": True, "shift": 0.0}
    assert problem(good, schemas["Clock"], schemas) is None
    strange: tuple[object, ...] = (
        {**good, "shift": "0"},
        {"now": "x"},
        {**good, "x": 1},
        {**good, "running": 1},
        [],
    )
    for bad in strange:
        assert problem(bad, schemas["Clock"], schemas) is not None


async def test_the_events_are_as_described(busy: Caller) -> None:
    """Rows and states of the stream fit the schemas of the lists."""
    schemas = DESCRIPTION["components"]["schemas"]
    port = busy._emulator.port
    async with connection(port) as (reader, writer):
        head = f"GET /_emulator/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
        writer.write(head.encode())
        await reader.readuntil(b"event: state\n")
        await busy.send(Content="x")
        await reader.readuntil(b"event: row\n")
        row = json.loads((await reader.readline()).decode().removeprefix("data: "))
        assert problem(row, schemas["SendRow"], schemas) is None
        await reader.readuntil(b"event: state\n")
        state = json.loads((await reader.readline()).decode().removeprefix("data: "))
        assert problem(state, schemas["State"], schemas) is None
