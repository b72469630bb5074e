"""Says what a measurement was made on, without a word that tells whose machine it is."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Final

import attrs

from benchmarks.processes import Cores
from esms_async import __version__

_LIBRARIES: Final = (
    "aiohttp",
    "tenacity",
    "attrs",
    "stamina",
    "aiohttp-retry",
    "httpx",
    "redis",
    "uvloop",
)


@attrs.frozen
class Machine:
    """A machine and its software.

    Attributes:
        cpu: The model of the CPU.
        cores: How many logical cores there are.
        system: The operating system.
        python: The Python implementation and version.
        pinned: True where client and server had a core each to themselves.
        versions: The versions of the libraries that take part.
    """

    cpu: str
    cores: int
    system: str
    python: str
    pinned: bool
    versions: dict[str, str]

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cores} cores, {self.system}, {self.python}"


def describe(cores: Cores) -> Machine:
    """Describe this machine.

    Args:
        cores: Where the processes are pinned.

    Returns:
        The description.
    """
    versions = {"esms_async": __version__}
    for library in _LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return Machine(
        cpu=_cpu_model(),
        cores=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        pinned=cores.pinned,
        versions=versions,
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or "unknown CPU"
