"""Makes the pictures that the READMEs and the docs show; `nox -s pictures` calls it.

Beside the pictures it notes a hash of what each shows, by which a test tells that one is older.
"""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / "docs" / "pictures"
NOTED: Final = FOLDER / "sources.json"

_INBOX = ("tools/inbox.py", "esms_async/emulator/static/*")
_BULK = ("tools/recording.py", *(f"esms_async/cli/{name}.py" for name in ("progress", "report")))
_CHART = ("tools/chart.py", "benchmarks/results/latest.json")

SOURCES: Final = {
    "inbox-light.webp": _INBOX,
    "inbox-dark.webp": _INBOX,
    "bulk.svg": _BULK,
    "bulk.vi.svg": _BULK,
    "storm-light.svg": _CHART,
    "storm-dark.svg": _CHART,
    "storm-light.vi.svg": _CHART,
    "storm-dark.vi.svg": _CHART,
}
"""The files that decide what each picture shows, but for the words of a recording."""


def digest(picture: str) -> str:
    """Return a hash of the sources of a picture."""
    found = hashlib.sha256()
    for pattern in SOURCES[picture]:
        for path in sorted(ROOT.glob(pattern)):
            found.update(f"{path.relative_to(ROOT).as_posix()}\n".encode())
            found.update(path.read_bytes())
    return found.hexdigest()[:16]


async def main() -> None:
    """Make all pictures."""
    # Only who makes pictures has what they need.
    from tools import chart, inbox, recording  # noqa: PLC0415  # see above

    pictures = {
        f"inbox-{scheme}.webp": taken for scheme, taken in (await inbox.take_pictures()).items()
    }
    for language, suffix in (("en", ""), ("vi", ".vi")):
        pictures[f"bulk{suffix}.svg"] = (await recording.record(language)).encode()
        for scheme in ("light", "dark"):
            drawn = chart.draw(language, scheme)
            pictures[f"storm-{scheme}{suffix}.svg"] = drawn.encode()
    for name, picture in pictures.items():
        (FOLDER / name).write_bytes(picture)
        print(f"{name}: {len(picture):,} bytes")
    noted = {name: digest(name) for name in SOURCES}
    NOTED.write_text(json.dumps(noted, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
