"""A real PostgreSQL server, from Debian's package, for as long as a test."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.limits import generous

_USER = "postgres"


def find_programs() -> Path | None:
    """Return the folder of the programs of the newest PostgreSQL, or None if there is none."""
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(packaged[-1]) if packaged else shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


class PostgresServer:
    """A server with one database, which listens on a socket in a folder of its own."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = tempfile.TemporaryDirectory(prefix="esms-pg-")
        # PostgreSQL refuses to run as root; its package has a user for it.
        self._as: dict[str, Any] = {}
        if hasattr(os, "getuid") and os.getuid() == 0:
            self._as = {"user": _USER, "group": _USER, "extra_groups": []}
            shutil.chown(self._folder.name, _USER, _USER)

    @property
    def url(self) -> str:
        """Its address, for psycopg."""
        return f"host={self._folder.name} user={_USER} dbname=postgres"

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            cwd=self._folder.name,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=generous(60),
            **self._as,
        )

    def __enter__(self) -> Self:
        data = f"{self._folder.name}/data"
        self._run("initdb", "-D", data, "-U", _USER, "--auth=trust", "--no-sync")
        options = f"-c listen_addresses= -c unix_socket_directories={self._folder.name}"
        # What is committed must outlive the application, not this machine.
        options += " -c fsync=off -c max_connections=20"
        self._run("pg_ctl", "-D", data, "-w", "-l", f"{data}/log", "-o", options, "start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._run("pg_ctl", "-D", f"{self._folder.name}/data", "-m", "immediate", "stop")
        self._folder.cleanup()
