"""Turning a plain store into a deduplicated one, in place: each media is stored again beside equal bytes, then goes.

The steps are those of a move: the new reference has its sidecar before the old one loses its own, so a crash leaves a
media twice and never not at all, and converting again finishes it. `turning.py` takes one media through its steps,
`converting.py` a whole store.
"""

from fsmedia.maintenance.conversion.converting import deduplicate

__all__ = ["deduplicate"]
