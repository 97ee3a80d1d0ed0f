"""Mending what crashes leave: one listing, a plan with a reason for each thing, and steps that look once more.

`finding.py` lists and plans, `mending.py` acts, `sweeping.py` runs both. What is younger than the grace may be a store
under way and is left alone; what this package did not write is reported and never removed.
"""

from fsmedia.maintenance.orphans.finding import Blob, Generation, Lone, Task, Unmarked
from fsmedia.maintenance.orphans.mending import Ground, mend_window
from fsmedia.maintenance.orphans.sweeping import before, check_grace, sweep_orphans

__all__ = [
    "Blob",
    "Generation",
    "Ground",
    "Lone",
    "Task",
    "Unmarked",
    "before",
    "check_grace",
    "mend_window",
    "sweep_orphans",
]
