"""Views: virtual trees over the rows of a catalog, which show all media of a store in other folders.

A tree is made in memory, from columns that whoever holds a catalog hands in, and is looked into by path; nothing of it
is stored. Which media a path means changes only when another tree takes its place.
"""

from fsmedia.catalog.views.loading import Loading
from fsmedia.catalog.views.rows import Rows
from fsmedia.catalog.views.shown import Shown
from fsmedia.catalog.views.tree import FOLDER, Tree

__all__ = ["FOLDER", "Loading", "Rows", "Shown", "Tree"]
