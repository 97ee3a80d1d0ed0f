"""`media://`: a store as a filesystem that every fsspec client can read and write.

fsspec finds it through the entry point `fsspec.specs`, so a worker needs no import of this package.
"""

from fsmedia.filesystem.media_filesystem import MediaFileSystem

__all__ = ["MediaFileSystem"]
