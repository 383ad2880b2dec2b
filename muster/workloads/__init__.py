"""The shelf: every workload by its name. A new one is one file beside this and one line below."""

from collections.abc import Mapping
from typing import Final

from muster.errors import NotFound
from muster.settings import Settings
from muster.workload import Workload
from muster.workloads.articles import Articles
from muster.workloads.posts import Posts
from muster.workloads.profiles import Profiles
from muster.workloads.prompts import Prompts
from muster.workloads.stories import Stories

SHELF: Final[Mapping[str, type[Workload]]] = {
    workload.name: workload
    for workload in (
        Profiles,
        Posts,
        Prompts,
        Stories,
        Articles,
    )
}  # in the order in which a client's batches are worked


def workload_named(name: str, settings: Settings) -> Workload:
    """The workload of that name.

    Raises:
        NotFound: there is none.
    """
    if name not in SHELF:
        raise NotFound(f"There is no workload {name!r}; there are {', '.join(SHELF)}.")
    return SHELF[name](settings)
