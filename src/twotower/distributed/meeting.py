"""How ranks find each other through a store that may hold what earlier ones left."""

from __future__ import annotations

import time
import uuid
from datetime import timedelta

from torch.distributed.distributed_c10d import PrefixStore, Store

__all__ = ["meet"]

_LOOK_S = 0.01


def meet(store: Store, rank: int, size: int, patience: timedelta) -> PrefixStore:
    """A part of a store that these ranks alone use.

    An agent keeps its store when it starts ranks again, with the addresses of those that died; and agents of several machines
    need not have counted alike how often that was. So rank 0 makes a name, and gives it to whoever shows that it is there now,
    by a name of its own that nobody had before.

    Args:
        store: All ranks reach it.
        rank: In ``[0, size)``.
        size: How many there are.
        patience: How long ranks wait for those that have not come yet.

    Raises:
        TimeoutError: On rank 0, if one does not come.
        DistStoreError: On the others, a `RuntimeError`, if rank 0 does not.
    """
    own = uuid.uuid4().hex
    if rank:
        store.set(f"here/{rank}", own)
        found = store.get(f"with/{own}").decode()
        store.set(f"met/{found}/{rank}", "")
        return PrefixStore(found, store)
    until, missing, answered = time.monotonic() + patience.total_seconds(), list(range(1, size)), set[str]()
    while missing:
        for each in missing:
            if store.check([f"here/{each}"]) and (theirs := store.get(f"here/{each}").decode()) not in answered:
                answered.add(theirs)
                store.set(f"with/{theirs}", own)
        missing = [each for each in missing if not store.check([f"met/{own}/{each}"])]
        if missing and time.monotonic() > until:
            shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
            raise TimeoutError(f"waited {patience.total_seconds() / 60:g} minutes for rank {shown}")
        if missing:
            time.sleep(_LOOK_S)
    return PrefixStore(own, store)
