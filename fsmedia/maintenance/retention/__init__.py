"""Retention at work: finding what is due, deleting it, and keeping the index that makes both cheap.

`due.py` finds, `sweep.py` decides and deletes one window at a time, `enforcement.py` runs a whole sweep, `rebuild.py`
makes the index anew from the sidecars.
"""

from fsmedia.maintenance.retention.due import due_entries
from fsmedia.maintenance.retention.enforcement import LONGEST_CLOCK_DIFFERENCE, Enforcement
from fsmedia.maintenance.retention.rebuild import rebuild_due_index

__all__ = ["LONGEST_CLOCK_DIFFERENCE", "Enforcement", "due_entries", "rebuild_due_index"]
