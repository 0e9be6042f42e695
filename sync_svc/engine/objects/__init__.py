"""Objects of records on their way between two surfaces.

How a run uses it (one `ObjectMover` per run):

- once, before the first batch: `keys = await mover.waiting(task)` are records that
  were held back, or taken without their bytes, before; a push looks at them too.
  `await mover.fetch_pending(task)` gets what is still to come here, if the remote
  surface has it now; on a push and on a pull.
- push, per batch, before the records: `moved = await mover.send(task, incoming,
  there=states_at_the_target)`. Records in `moved.gated` and `moved.corrupt` are not
  forwarded; the latter go to quarantine as OBJECT_MISMATCH.
- pull, and for versions that a push meets on the remote surface, before the join:
  `moved = await mover.fetch(task, incoming, there=states_here)`. Records in
  `moved.corrupt` go to quarantine, all others are joined: what their bytes lack is
  noted already.
- plan: `await mover.needed(task, incoming, there=...)`, then `await
  mover.survey(task, needed)`; they only read.
- a held version is taken outside a run: `await expect_objects(...)` before the join.

`there` (by record key) saves looking at objects that the target's record names
already; a full reconcile passes none, so that everything is looked at.
"""

from __future__ import annotations

from sync_svc.engine.objects.mover import ObjectMover
from sync_svc.engine.objects.needed import Fault, Moved, NeededObject
from sync_svc.engine.objects.pending import expect_objects

__all__ = ["Fault", "Moved", "NeededObject", "ObjectMover", "expect_objects"]
