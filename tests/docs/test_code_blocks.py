"""Every code block of the documentation runs, and does what its page says."""

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path

import pytest

from esms_async.emulator import Emulator
from tests.docs.blocks import PAGES, ROOT, VIETNAMESE, read_blocks
from tests.docs.runner import Runner
from tests.limits import generous

# The blocks of the tutorial run in test_tutorial.py; test_pages.py compares the blocks of a
# Vietnamese page with those of its English twin.
RUN_ELSEWHERE = {ROOT / "docs" / "tutorial.md", *VIETNAMESE}


async def run_page(text: str, page: str, folder: Path) -> None:
    """Run the blocks of a page against an emulator of its own."""
    blocks = read_blocks(text, page)
    async with Emulator() as gateway, Runner(folder, gateway.url) as runner:
        for block in blocks:
            await runner.run(block)


@pytest.mark.once
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page not in RUN_ELSEWHERE],
    ids=lambda page: str(page.relative_to(ROOT)),
)
async def test_page(page: Path, tmp_path: Path) -> None:
    """Every code block of the page runs, in order."""
    text = page.read_text(encoding="utf-8")
    await run_page(text, str(page.relative_to(ROOT)), tmp_path)


BAD_BLOCKS = {
    "a language that nobody runs": ("```perl\nprint 1\n```", "how to run perl"),
    "no language": ("```\nx = 1\n```", "without language"),
    "an indented block": ("text\n\n    x = 1\n", "without language"),
    "a hidden block": ("```{code-block} python\nx = 1\n```", "no such mark: {'python'}"),
    "an unknown mark": ("```python skip\nx = 1\n```", "no such mark"),
    "a program that fails": ("```python\n1 / 0\n```", "ZeroDivisionError"),
    "a test that fails": ("```python\ndef test_it() -> None:\n    assert 0\n```", "1 failed"),
    "a fragment that is not Python": ("```python fragment\nawait =\n```", "invalid syntax"),
    "a program unknown here": ("```console\n$ rm -r x\n```", "how to run rm"),
    "the same behind a pipe": ("```console\n$ echo x | rm -r x\n```", "how to run rm"),
    "an unknown program in a value": ('```console\nexport A="$(rm x)"\n```', "how to run rm"),
    "a value of nothing": ('```console\nexport A="$(echo -n)"\n```', "prints nothing"),
    "another exit code": ("```console\n$ esms-async nothing\n```", "exit 2"),
    "another output": ("```console\n$ echo one\ntwo\n```", "printed\none"),
    "output before any command": ("```console\none\n$ echo one\n```", "no command"),
    "an extra that does not exist": ("```console\n$ pip install .[x]\n```", "no such extra"),
    "a package from elsewhere": ("```console\n$ pip install esms\n```", "esms is nothing"),
    "a session that does not exist": ("```console\n$ nox -s x\n```", "no session x"),
    "a server that ends": ("```console background=up\n$ echo down\n```", "without printing 'up'"),
    "invalid YAML": ("```yaml\na: [\n```", "expected the node content"),
    "invalid JSON": ("```json\n{\n```", "Expecting"),
    "invalid TOML": ("```toml\n=\n```", "Invalid"),
    "a ragged CSV": ("```csv\na,b\nc\n```", "differ in length"),
}


@pytest.mark.parametrize(("text", "problem"), BAD_BLOCKS.values(), ids=BAD_BLOCKS)
async def test_a_bad_block_fails(text: str, problem: str, tmp_path: Path) -> None:
    """A block that does not do what it says, or that nobody knows how to run, fails its page."""
    with pytest.raises(AssertionError) as caught:
        await run_page(text, "page.md", tmp_path)
    assert "page.md:" in str(caught.value)
    assert problem in str(caught.value)


GOOD_PAGE = """\
```python file=app.py
ANSWER = 42
```

```python
import app
import os
assert os.environ["ESMS_BASE_URL"].startswith("http://127.0.0.1:")
```

```python continued
print(app.ANSWER)
```

```python
async def test_it() -> None:
    assert True
```

```console background=listening
$ python -u -c 'print("listening"); import signal; signal.pause()'
```

```console
$ export WORD=seven MADE="$(echo eight)"
$ python -c 'import os; print(os.environ["WORD"], os.environ["MADE"], 9)' | cat
seven eight …
$ echo one && echo one
one
```

<!-- next block: exit=2 -->
```console
.venv/bin/esms-async nothing
```

```console background=Inbox
$ esms-async emulator
```

```console
$ curl -s http://127.0.0.1:8026/_emulator/ready
{"ready": true, "url": "http://127.0.0.1:8026/MainService.svc/json/", ...}
```

```ini
[Service]
ExecStart=true
```

```toctree
```
"""


async def test_a_good_page_passes(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Files, continuations, tests, servers, exports and printed words work as the table says.

    So they do while the port that the page names is taken.
    """
    with contextlib.suppress(OSError):  # an emulator of the person who runs this has it already
        taken = socket.create_server(("127.0.0.1", 8026))
        request.addfinalizer(taken.close)
    await run_page(GOOD_PAGE.replace("```toctree\n", "```{toctree}\n"), "page.md", tmp_path)


async def test_the_first_program_says_what_went_wrong(tmp_path: Path) -> None:
    """The README's first program, with the gateway out of reach, or without keys, says so."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (program,) = (
        block.text
        for block in read_blocks(text, "README.md")
        if block.marks.get("file") == "send.py"
    )
    (tmp_path / "send.py").write_text(program, encoding="utf-8")
    keys = {"ESMS_API_KEY": "any", "ESMS_SECRET_KEY": "any"}
    nowhere = {**keys, "ESMS_BASE_URL": "http://127.0.0.1:9/"}
    for environ, said in ((nowhere, "NotSent: not sent"), ({}, "ConfigurationError: ")):
        running = await asyncio.create_subprocess_exec(
            sys.executable,
            "send.py",
            cwd=tmp_path,
            env={**os.environ, **environ},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(running.communicate(), generous(60))
        assert (running.returncode, out) == (1, b"")
        assert err.decode().startswith(said)
        assert "Traceback" not in err.decode()
