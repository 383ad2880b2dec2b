"""Who takes part in a run, with which workloads, and why the others do not; pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from muster.limits import Selection
from muster.states import ClientState


class Candidate(Protocol):
    """The columns of a client that decide on its part."""

    id: str
    state: ClientState
    service_level: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What a run decided on one client; `reason` says what was left out, and why."""

    client_id: str
    included: bool
    workloads: tuple[str, ...]
    reason: str | None


def decide(
    clients: Sequence[Candidate],
    workloads: Sequence[str],
    selection: Selection,
    barred: Mapping[tuple[str, str], str],
) -> list[Decision]:
    """Decide on every client, in the order of their ids.

    `barred` holds the workloads' own reasons by (client, workload), such as a missing posts target.
    """
    decisions: list[Decision] = []
    taken = 0
    for client in sorted(clients, key=lambda it: it.id):
        full = selection.clients is not None and taken >= selection.clients
        reason = f"{selection.label} takes {selection.clients} clients" if full else _state_reason(client, selection)
        left_out = {} if reason else dict(_left_out(client, workloads, selection, barred))
        wanted = () if reason else tuple(name for name in workloads if name not in left_out)
        said = reason or "; ".join(f"{name}: {why}" for name, why in left_out.items()) or None
        decisions.append(Decision(client.id, bool(wanted), wanted, said))
        taken += bool(wanted)
    return decisions


def _state_reason(client: Candidate, selection: Selection) -> str | None:
    return None if client.state in selection.states else f"client is {client.state}"


def _left_out(
    client: Candidate, workloads: Sequence[str], selection: Selection, barred: Mapping[tuple[str, str], str]
) -> Iterator[tuple[str, str]]:
    for name in workloads:
        least = selection.min_level.get(name, 0)
        if client.service_level < least:
            yield name, f"service level {client.service_level} is below {least}"
        elif why := barred.get((client.id, name)):
            yield name, why
