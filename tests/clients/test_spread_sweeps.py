"""A sweep spread over a cluster: Dask's executor does the windows in its own processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import timedelta

from fsmedia import MediaContent, MediaMetadata, MediaStore, utc_now

DASK = """
import sys
from dask.distributed import Client, LocalCluster
from fsmedia import MediaStore
from fsmedia.maintenance import expiry, verify
if __name__ == "__main__":
    expiry._WINDOW = verify._WINDOW = 4
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            for url in sys.argv[1:]:
                store = MediaStore(url)
                executor = client.get_executor()
                plan = store.enforce_policy(dry_run=True, executor=executor)
                report = store.enforce_policy(executor=executor)
                rebuilt = store.verify(repair=True, executor=executor)
                print("SWEPT", len(plan.deleted), report, "REBUILT", rebuilt.media, len(rebuilt.failed))
            pids = client.run(__import__("os").getpid)
            assert __import__("os").getpid() not in pids.values()
"""


def test_dask_sweeps_a_folder(tmp_path, local_storage):
    store = MediaStore(local_storage.url)
    old = utc_now() - timedelta(days=2)
    due = MediaMetadata(run_id="r1", policy_name="retain-1days", timestamp=old)
    refs = store.store_many([(MediaContent.from_bytes(b"%d" % n, "text/plain"), due) for n in range(10)])
    stays = store.store_media(MediaContent.from_bytes(b"x", "text/plain"), MediaMetadata(run_id="r2"))
    script = tmp_path / "with_dask.py"
    script.write_text(DASK)
    done = subprocess.run(
        [sys.executable, str(script), local_storage.url],
        capture_output=True, text=True, timeout=200, check=False, env=os.environ,
    )  # fmt: skip
    wanted = r"SWEPT 10 10 examined, deleted 10 \(10 B\), 0 skipped, 0 failed, in \S+ s REBUILT 1 0"
    assert re.search(wanted, done.stdout), done.stdout + done.stderr[-3000:]
    assert list(store.list()) == [stays]
    assert len(refs) == 10
    assert local_storage.keys() == {".fsmedia/store.json", stays, f"{stays}.meta"}
