"""The Dockerfile, the compose example and the steps of a CI job, run without Docker."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from esms_async.emulator import Emulator
from tests.cli.support import environment
from tests.limits import generous

FOLDER = Path(__file__).parent.parent.parent / "docs" / "examples" / "emulator"


def steps(name: str) -> list[str]:
    """Return the arguments of an instruction of the Dockerfile that is written as JSON."""
    text = (FOLDER / "Dockerfile").read_text()
    (found,) = re.findall(rf"^{name}\b[^\[\n]*(\[.*\])$", text, re.MULTILINE)
    arguments: list[str] = json.loads(found)
    return arguments


def free_port() -> int:
    """Return a port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.mark.parametrize("options", [(), ("--tls", "self-signed")], ids=["http", "https"])
async def test_the_image_runs_and_is_found_healthy(options: tuple[str, ...]) -> None:
    """ENTRYPOINT with CMD serves, and HEALTHCHECK ends with 0 as soon as it does, else with 1."""
    port = str(free_port())
    steps_of_run = (*steps("ENTRYPOINT"), *steps("CMD"), *options)
    entry = [step.replace("8026", port) for step in steps_of_run]
    health = [step.replace("8026", port) for step in steps("HEALTHCHECK")]
    assert (entry[0], health[0]) == ("python", "python")
    health[0] = entry[0] = sys.executable

    def check() -> int:
        return subprocess.run(health, capture_output=True, check=False, timeout=30).returncode

    assert await asyncio.to_thread(check) == 1
    process = await asyncio.create_subprocess_exec(
        *entry, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment({})
    )
    try:
        assert process.stdout is not None
        await asyncio.wait_for(process.stdout.readline(), 30)
        assert await asyncio.to_thread(check) == 0
    finally:
        process.terminate()
        _, err = await process.communicate()
    assert process.returncode == 0
    # A check sends nothing, which is no error.
    assert "rror" not in err.decode()


def test_the_compose_example_fits_the_image() -> None:
    """It publishes the port on this machine alone, and gives options that the command takes."""
    compose: Any = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    emulator, app = compose["services"]["emulator"], compose["services"]["app"]
    assert emulator["ports"] == ["127.0.0.1:8026:8026"]
    from esms_async.emulator.command import build, parse  # noqa: PLC0415  # for this test alone

    build(parse([*steps("ENTRYPOINT")[3:], *emulator["command"]], {}))
    assert app["environment"]["ESMS_ALLOW_HTTP"] == "emulator"
    assert app["depends_on"]["emulator"]["condition"] == "service_healthy"


PAGE = FOLDER.parents[1] / "howto" / "emulator.md"


@pytest.mark.parametrize("is_broken", [False, True])
def test_the_steps_of_github_actions_start_an_emulator_or_fail(
    tmp_path: Path, *, is_broken: bool
) -> None:
    """The first ends once the emulator serves, or else fails with its log; the last shows both."""
    (block,) = re.findall(r"```yaml\n(- run.+?)```", PAGE.read_text("utf-8"), re.DOTALL)
    start, _, show = (step["run"] for step in yaml.safe_load(block))
    start = start.replace("pip install esms_async\n", "")
    # What an earlier run has left is not taken for the new URL.
    (tmp_path / "esms.url").write_text("http://127.0.0.1:9/MainService.svc/json/\n")
    if is_broken:
        (tmp_path / "emulator.db").mkdir()
    environ = environment({"GITHUB_ENV": "github.env"})

    def run(script: str, **more: str) -> subprocess.CompletedProcess[str]:
        # As the runner does: bash -e, and each step in a shell of its own.
        return subprocess.run(
            ["bash", "-e", "-c", script],  # noqa: S607  # whichever there is
            cwd=tmp_path,
            env={**environ, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=generous(60),
        )

    # What the test alone adds: the number of the process, to end it.
    started = run(f"trap 'echo $! > pid' EXIT\n{start}".replace("python ", f"{sys.executable} "))
    try:
        assert started.returncode == is_broken
        assert ("emulator.db" in started.stdout) == is_broken
        assert (tmp_path / "github.env").exists() != is_broken
        if not is_broken:
            name, _, url = (tmp_path / "github.env").read_text().strip().partition("=")
            assert url == (tmp_path / "esms.url").read_text().strip()
            assert ":9/" not in url
            shown = run(show, **{name: url})
            assert "NO SMS LEAVES" in shown.stdout
            assert '"requests": []' in shown.stdout
    finally:
        if not is_broken:
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)


@pytest.mark.skipif(shutil.which("node") is None, reason="this machine has no node")
async def test_the_app_of_the_example_sends_and_gets_its_reports(emulator: Emulator) -> None:
    """The app in another language, with the variables that compose gives it; run twice, too."""
    emulator.change({"report_delay": 0.2})
    assert await _run_app(emulator.url) != await _run_app(emulator.url)


async def _run_app(url: str) -> str:
    """Run the app, and return the RequestId that it sent with."""
    variables = {
        "ESMS_BASE_URL": url,
        "ESMS_API_KEY": "any",
        "ESMS_SECRET_KEY": "any",
        "CALLBACK_HOST": "127.0.0.1",
        "PORT": "0",
    }
    process = await asyncio.create_subprocess_exec(
        *("node", str(FOLDER / "app.mjs")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **variables},
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    request_id = out.decode().partition("report ")[2].partition(" ")[0]
    assert out.decode().splitlines() == [
        "answer 100",
        f"report {request_id} SendStatus=2 SendSuccess=0",
        f"report {request_id} SendStatus=5 SendSuccess=1",
    ], err
    return request_id


def test_the_image_is_built_and_runs() -> None:
    """Where there is Docker, the image is built, becomes healthy, and answers."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], capture_output=True).returncode:  # noqa: PLW1510  # the code is read
        pytest.skip("no Docker daemon answers here")
    root = FOLDER.parent.parent.parent
    subprocess.run(
        [docker, "build", "-q", "-f", str(FOLDER / "Dockerfile"), "-t", "esms-emulator-test", root],
        check=True,
    )
    done = subprocess.run(
        [docker, "run", "--rm", "esms-emulator-test", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--allow-host" in done.stdout
