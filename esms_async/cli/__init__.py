"""The command `esms-async`, which needs the extra `cli`."""

import gc
import sys

_EXTRA = {"aiolimiter", "click", "rich"}


def main() -> int:
    """Run the command with the arguments of this process."""
    try:
        from esms_async.cli.app import run  # noqa: PLC0415  # the extra may not be installed
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        sys.stderr.write(f"esms-async: {missing} is missing; install esms_async[cli]\n")
        return 2
    except KeyboardInterrupt:
        return 130
    # What was imported stays to the end: the collector need not go through it again and again.
    gc.freeze()
    return run(sys.argv[1:])
