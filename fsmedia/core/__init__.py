"""One media item: taken in, stored in the proven order of writes, found, kept and deleted, on any storage."""
