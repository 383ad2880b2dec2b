"""How items come back from lanes that ended or fell silent."""

from collections.abc import Sequence

from muster.ledger import statements as sql
from muster.ledger.database import Tx


async def give_back_items(tx: Tx, batch_id: int, lanes: Sequence[str]) -> int:
    """Return the items of some lanes to `pending`, with what they had reserved, and drop the lanes."""
    of_lanes = {"of_batch": batch_id, "lanes": lanes}
    freed = await tx.value(sql.RESERVED_BY, {"batch_id": batch_id, "lanes": lanes})
    returned = await tx.run(sql.RETURN_ITEMS_OF, of_lanes)
    await tx.run(sql.RESERVE, {"batch_id": batch_id, "reserves": -int(freed)})
    await tx.run(sql.DROP_LANES, {"lanes": lanes})
    return returned
