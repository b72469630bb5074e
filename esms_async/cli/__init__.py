"""The command `esms-async`, which needs the extra `cli`."""

import gc
import sys
from importlib.util import find_spec
from typing import Final

_EXTRA: Final = ("aiolimiter", "click", "rich")
# What a client remembers of its sends lives long. At the usual threshold of 700 objects the
# collector visits it again and again, for 5 % of the time of a job.
_COLLECT_AFTER: Final = 20_000


def main() -> int:
    """Run the command with the arguments of this process."""
    gc.set_threshold(_COLLECT_AFTER)
    try:
        for package in _EXTRA:
            if find_spec(package) is None:
                install = "install it with: pip install 'esms_async[cli]'"
                sys.stderr.write(f"esms-async: {package} is missing; {install}\n")
                return 2
        from esms_async.cli.app import run  # noqa: PLC0415  # the extra may not be installed
    except KeyboardInterrupt:
        return 130
    # What was imported stays to the end: the collector need not visit it, not even at the exit.
    gc.freeze()
    return run(sys.argv[1:])
