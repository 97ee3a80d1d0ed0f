"""`python -m fsmedia.cli` is `fsmedia`."""

import shlex
import sys

from fsmedia.cli import main

if __name__ == "__main__":
    main(f"{shlex.quote(sys.executable)} -m fsmedia.cli")
