"""The catalog of stores that PromptKit wrote: the same rows as `info`, and the first snapshot is a first write."""

from __future__ import annotations

import json

from tests.catalogs import check, old_enough, snapshots
from tests.golden.conftest import Adopted


def test_the_catalog_of_a_store_that_promptkit_wrote(adopted: Adopted) -> None:
    before = adopted.storage.keys()
    with old_enough():
        check(adopted.open(), adopted.open(read_only=True).catalog())
        assert adopted.storage.keys() == before
        made = adopted.open().catalog()
    check(adopted.open(), made)
    assert set(adopted.references) <= set(made.to_arrow().column("reference").to_pylist())
    assert adopted.storage.keys() - before == {".fsmedia/store.json", *snapshots(adopted.storage)}
    assert json.loads(adopted.storage.read(".fsmedia/store.json"))["due_index"] == "partial"
    assert adopted.open().stats(refresh=False).media == len(made)
