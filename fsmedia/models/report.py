"""What every report of the package is to who looks at it: one line at a prompt, a table in a notebook."""

from __future__ import annotations

from typing import Any

from fsmedia.models import faces
from fsmedia.models.base import Model


class Report(Model):
    """A frozen model that tells what was done; `str()` of it is one line, whatever number of media it names."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def _repr_html_(self) -> str | None:
        return faces.html_of(self)

    def _repr_args(self) -> Any:
        return ()
