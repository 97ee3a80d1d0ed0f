"""`python -m tests.bench [NAME ...]`: the benches named below, all of them without arguments.

`objects` compares with obstore too, which no extra brings along: `pip install obstore`.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

BENCHES = (
    "local", "objects", "large", "reads", "filesystem", "retention", "deduplication", "catalog", "views", "verify",
    "sync", "erasure", "exchange", "telemetry", "gallery",
)  # fmt: skip

unknown = set(sys.argv[1:]) - set(BENCHES)
if unknown:
    sys.exit(f"no such bench: {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
for name in sys.argv[1:] or BENCHES:
    import_module(f"tests.bench.{name}").run()
