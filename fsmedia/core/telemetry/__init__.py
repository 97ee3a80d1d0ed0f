"""What a store tells those who watch it: one `Event` for each operation, to hooks and to OpenTelemetry.

An operation is watched by one line, `@observed("verify")`; what the rooms below find out of it they add by `tell`.
Nobody hears a signed URL, a query, a credential or a caption, and nothing that goes wrong here reaches an operation.
Needs no other package: OpenTelemetry is used where the program has loaded it.
"""

from __future__ import annotations

from fsmedia.core.telemetry.events import Event, Hook, checked_hooks
from fsmedia.core.telemetry.observer import Observer, Watch, is_watched, name_media, observed, tell, told_of

__all__ = [
    "Event",
    "Hook",
    "Observer",
    "Watch",
    "checked_hooks",
    "is_watched",
    "name_media",
    "observed",
    "tell",
    "told_of",
]
