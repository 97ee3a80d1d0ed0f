"""`python -m tests.bench [NAME ...]`: the benches named below, all of them without arguments."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from tests.bench import (
    catalog,
    deduplication,
    erasure,
    exchange,
    filesystem,
    large,
    local,
    objects,
    retention,
    sync,
    telemetry,
    verify,
    views,
)
from tests.bench import catalog, deduplication, filesystem, large, local, objects, retention, verify
from tests.bench import deduplication, filesystem, gallery, large, local, objects, retention

BENCHES = {
    "local": local.run,
    "objects": objects.run,
    "large": large.run,
    "filesystem": filesystem.run,
    "retention": retention.run,
    "deduplication": deduplication.run,
    "sync": sync.run,
    "telemetry": telemetry.run,
    "views": views.run,
    "catalog": catalog.run,
    "erasure": erasure.run,
    "verify": verify.run,
    "exchange": exchange.run,
    "verify": verify.run,
    "catalog": catalog.run,
    "gallery": gallery.run,
}

for name in sys.argv[1:] or BENCHES:
    BENCHES[name]()
