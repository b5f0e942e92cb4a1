"""`--down-when-done`: a cluster that ends itself with its sweep.

Always holds: refused before anything starts where results would go with the head's disk, or where there is no such
cluster; nothing is ended after an end that left results unstored.
"""

from __future__ import annotations

from collections.abc import Callable

from cluster import ClusterError
from cluster.teardown import OwnCluster, own_cluster, tear_down
from paramalloc.errors import UserError

OPTION = "--down-when-done"


def require_own_cluster(storage: str | None) -> OwnCluster:
    """The cluster whose head this machine is. Errors: UserError elsewhere, and without a storage."""
    if storage is None:
        raise UserError(OPTION, "no --storage", "give one: results on the head's disk would go with it")
    try:
        return own_cluster()
    except ClusterError as error:
        raise UserError(OPTION, error.got, error.allowed) from error


def end_cluster(own: OwnCluster, say: Callable[[str], None]) -> None:
    """Terminate every machine of the cluster, this one last. Errors: UserError for what AWS refuses."""
    try:
        tear_down(own, say)
    except ClusterError as error:
        raise UserError(f"{OPTION}: {error.place}", error.got, error.allowed) from error
