"""Handing out what others read: imagefolder and audiofolder of Hugging Face, shards of WebDataset.

All are clients of `MediaStore`. Names come from the store's own unique parts, never from strangers. A file appears
whole or not at all, tables come last, and what an earlier export wrote is found and left, so a killed export goes on
where it was.
"""

from fsmedia.exchange.imagefolder import export_audiofolder, export_imagefolder
from fsmedia.exchange.webdataset import export_webdataset

__all__ = ["export_audiofolder", "export_imagefolder", "export_webdataset"]
