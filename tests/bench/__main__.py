"""`python -m tests.bench NAME ...` runs benches, without a name it says which there are.

The README's test command installs all they need; `objects` compares with obstore too where that is installed.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

MODULES = {
    "disk": ("local", "large", "reads", "deduplication", "exchange", "telemetry"),
    "large_stores": ("retention", "catalog", "views", "verify", "erasure"),
    "over_s3": ("objects", "filesystem", "sync", "gallery"),
}
BENCHES = {name: module for module, names in MODULES.items() for name in names}

unknown = set(sys.argv[1:]) - BENCHES.keys()
if unknown:
    sys.exit(f"no such bench: {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
if len(sys.argv) == 1:
    for module, names in MODULES.items():
        print(f"{', '.join(names)}\n    {import_module(f'tests.bench.{module}').__doc__}")
for name in sys.argv[1:]:
    getattr(import_module(f"tests.bench.{BENCHES[name]}"), name)()
