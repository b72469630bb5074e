"""The command `python -m benchmarks`."""

import sys

if __name__ == "__main__":
    try:
        from benchmarks.cli import main
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is missing: install the dependency group `bench`")
    main(prog_name="python -m benchmarks")
