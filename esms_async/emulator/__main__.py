"""Runs an emulator with `python -m esms_async.emulator`, which needs only the core."""

import sys

from esms_async.emulator.command import main

sys.exit(main())
