"""Erasing a subject: everything of a run, conversation, session or provider, wherever it lies, with a receipt.

`subject.py` says whose a media is, `finding.py` looks through the store, `journal.py` and `removing.py` delete so that
a crash at any step is finished by erasing again, `leftovers.py` and `traces.py` clean what else names the subject,
`names.py` knows it in quarantine, `erasing.py` runs it all, `checking.py` holds a receipt against the store later.
"""

from fsmedia.erasure.checking import check_receipt, read_receipt
from fsmedia.erasure.erasing import Erasure

__all__ = ["Erasure", "check_receipt", "read_receipt"]
