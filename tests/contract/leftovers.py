"""Leftovers of every kind, made past the package as a crash would leave them."""

from datetime import UTC, datetime

from fsmedia.format import keys
from tests.contract.specimens import PNG
from tests.deduplicated import told


def mended(report):
    """Return what a repair mended, or by its plan would."""
    return [each for each in report.findings if each.repair and not each.harmless]


def kept(report):
    """Return what a repair leaves as it is."""
    return [each for each in report.findings if each.harmless]


def written(storage, files):
    """Write bytes; return what a sweep must call each of them."""
    for key, (_, data) in files.items():
        storage.write(key, data)
    return {key: kind for key, (kind, _) in files.items()}


def dead_media(reference):
    """Return the name of a media under a new generation of the same bytes, and the key of its marker."""
    gone = reference.replace(told(reference).generation, keys.new_generation())
    return gone, f"{told(gone).refs}/{keys.new_marker(gone)}"


class Leftover:
    """One kind of leftover: makes it, and says what a sweep must call it. What it returns is all that may go."""

    @staticmethod
    def orphan_marker(storage, reference):
        gone = f"runs/r9/{reference.rpartition('/')[2]}"
        return written(storage, {f"{told(reference).refs}/{keys.new_marker(gone)}": ("marker", gone.encode())})

    @staticmethod
    def generation_without_markers(storage, reference):
        return written(storage, {f"{told(reference).blob}/data/{keys.new_generation()}": ("generation", PNG)})

    @staticmethod
    def generation_with_a_dead_storers_marker(storage, reference):
        gone, marker = dead_media(reference)
        return written(storage, {marker: ("marker", gone.encode()), told(gone).data: ("generation", PNG)})

    @staticmethod
    def marker_without_data(storage, reference):
        gone, marker = dead_media(reference)
        return written(storage, {marker: ("marker", gone.encode())})

    @staticmethod
    def condemned_mark_without_data(storage, reference):
        key = f"{told(reference).blob}/condemned/{keys.new_generation()}/{keys.new_generation()}"
        return written(storage, {key: ("mark", b"")})

    @staticmethod
    def half_a_release(storage, reference):
        """Whoever released died between its mark and the removal of the data."""
        blob, generation = told(reference).blob, keys.new_generation()
        mark = f"{blob}/condemned/{generation}/{keys.new_generation()}"
        return written(storage, {mark: ("mark", b""), f"{blob}/data/{generation}": ("generation", PNG)})

    @staticmethod
    def temporary_file(storage, _):
        names = (f"runs/r1/{keys.temporary_name()}", f".fsmedia/blobs/{keys.temporary_name()}")
        return written(storage, dict.fromkeys(names, ("temporary", b"half")))

    @staticmethod
    def temporary_marker(storage, reference):
        """A process that died while it wrote a marker, on a disk: bytes in the folder, but no marker."""
        blob, generation = told(reference).blob, keys.new_generation()
        marker = f"{blob}/refs/{generation}/{keys.temporary_name()}"
        return written(storage, {marker: ("temporary", PNG), f"{blob}/data/{generation}": ("generation", PNG)})

    @staticmethod
    def plain_bytes_without_sidecar(storage, _):
        return written(storage, {f"runs/r1/0000_00_{keys.new_unique()}.png": ("bytes", PNG)})

    @staticmethod
    def due_entry_without_media(storage, _):
        reference = f"runs/r1/0000_00_{keys.new_unique()}.png"
        return written(storage, {keys.due_key(datetime(2026, 3, 4, 5, 6, tzinfo=UTC), reference): ("due", b"")})


KINDS = [name for name in vars(Leftover) if not name.startswith("_")]
