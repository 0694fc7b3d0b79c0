"""What may surround a row, and what has to: each row declares it, outermost first. `middleware/stack.py` does it.

The rules, checked there when the server starts:
1. A row that changes something is audited.
2. A row that hands items to RE Manager, or edits them, declares what NEEDED says of its method.
3. The order is that of `Around`: hooks see what the client sent, and the checks see what the hooks made of it.
4. A row whose items are in a file or in lines cannot be surrounded: `inside` says what it does for them itself.
"""

from collections.abc import Mapping
from enum import Enum


class Around(Enum):
    """One layer around the function that serves a row, in the only order that there is: outermost first.

    AUDITED: recorded in the audit trail. IDEMPOTENT: an `Idempotency-Key` is honoured. REVIEWED: items of roles that
    are reviewed become proposals. HOOKED: the submission hooks see, change or refuse the items. QUOTA: the caller's
    quotas and the cost of batches. OWNED: what is added belongs to the caller, and who may edit own items only edits
    no others. STAMPED: the site's metadata goes into the items.
    """

    AUDITED = "audited"
    IDEMPOTENT = "idempotent"
    REVIEWED = "reviewed"
    HOOKED = "hooked"
    QUOTA = "quota"
    OWNED = "owned"
    STAMPED = "stamped"


AUDITED, IDEMPOTENT, REVIEWED, HOOKED, QUOTA, OWNED, STAMPED = Around

ADDS = (REVIEWED, HOOKED, QUOTA, OWNED, STAMPED)
NEEDED: Mapping[str, tuple[Around, ...]] = {
    "queue_item_add": ADDS,
    "queue_item_add_batch": ADDS,
    "queue_item_execute": (HOOKED, OWNED, STAMPED),
    "queue_item_update": (REVIEWED, HOOKED, OWNED, STAMPED),
    "function_execute": (HOOKED, OWNED),
    "queue_item_remove": (OWNED,),
    "queue_item_remove_batch": (OWNED,),
    "queue_item_move": (OWNED,),
    "queue_item_move_batch": (OWNED,),
}
"""RE Manager's methods that take or edit items, and what a row with such a method declares at least."""


def choose_around(method: str, domain: str, *, changes: bool) -> tuple[Around, ...]:
    """What surrounds a row that declares nothing. Logins are never idempotent: their replies hold secrets."""
    needed = NEEDED.get(method, ())
    if not changes and not needed:
        return ()
    return (AUDITED, *(() if domain == "auth" else (IDEMPOTENT,)), *needed)
