"""Bringing the media of one store to another, wherever that lies: complete, verified, and again and again.

`targets.py` says where to, `passages.py` what a media is called there, `verdicts.py` what is to be done with it,
`cargo.py` brings bytes over, `carrying.py` takes windows of media through the steps of a store, `extras.py` deletes
what the source has not, and `syncing.py` does a whole store.
"""

from fsmedia.maintenance.transfer.cargo import Check
from fsmedia.maintenance.transfer.syncing import Wishes, sync
from fsmedia.maintenance.transfer.targets import open_target

__all__ = ["Check", "Wishes", "open_target", "sync"]
