"""Runs the command with `python -m esms_async`."""

import sys

from esms_async.cli import main

sys.exit(main())
