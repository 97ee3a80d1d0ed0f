"""`python -m fsmedia.cli` is `fsmedia`."""

import shlex
import sys

from fsmedia.cli import main

main(f"{shlex.quote(sys.executable)} -m fsmedia.cli")
