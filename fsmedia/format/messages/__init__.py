"""LLM messages as JSON: where media lie in them as base64, and how references stand in their place. Pure.

`shapes.py` knows the parts that APIs send, `places.py` walks over a document, `encoding.py` spells base64 as it was
spelled, `marker.py` is the text that stands for a media, `document.py` reads JSON text so that pieces of it can be
replaced and nothing else changes.
"""

from fsmedia.format.messages import encoding
from fsmedia.format.messages.document import Edit, loaded, slashed, spliced, token
from fsmedia.format.messages.marker import Marker
from fsmedia.format.messages.places import Place, edited, places_of

__all__ = [
    "Edit",
    "Marker",
    "Place",
    "edited",
    "encoding",
    "loaded",
    "places_of",
    "slashed",
    "spliced",
    "token",
]
