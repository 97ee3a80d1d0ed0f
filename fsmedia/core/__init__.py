"""One media: taken in, committed in the proven order, found, kept, let go. Knows storages, no surface."""
