"""The only words the node agent has with Ray: find this machine's Ray node, drain it, publish what the machine is.

Always holds: Ray's private interfaces (a GCS client, `drain_node`) are used here and nowhere else; a drain comes
before the publication, because it is urgent; whatever Ray answers badly is a ClusterError.
Tested with Ray 2.60. From afar: `read_records(address)`, or in a Ray process `ray.experimental.internal_kv`
with namespace `paramalloc` and key `node:<Ray node id>`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from cluster.errors import ClusterError
from cluster.notice import NodeRecord

NAMESPACE = b"paramalloc"
KEY_PREFIX = b"node:"
RPC_SECONDS = 5.0


def tell_ray(record: NodeRecord, address: str | None = None, node_id: str | None = None) -> str:
    """Drain this machine's Ray node if a notice stands, publish its record; what was done, in words.

    Args:
        address: `host:port` of the head; default `$RAY_ADDRESS`, or the Ray that runs on this machine.
        node_id: the Ray node (hex); default the one of this instance id, or the only one on this machine.

    Errors: ClusterError when Ray is away, refuses, or the node cannot be told from others.
    """
    from ray.exceptions import RpcError

    try:
        client = _connect(address)
        node = node_id or _own_node(client, record)
        done = ""
        if record.notice:
            _drain(client, node, record)
            done = f"drains node {node[:12]} for {record.notice.action}, "
        value = json.dumps(asdict(record)).encode()
        client.internal_kv_put(KEY_PREFIX + node.encode(), value, True, NAMESPACE, timeout=RPC_SECONDS)
        return done + f"published {record.instance_id or 'the machine'} as node {node[:12]}"
    except RpcError as error:
        raise ClusterError("Ray", _first_line(error), "is the head still there?") from None


def read_records(address: str | None = None) -> dict[str, NodeRecord]:
    """What the agents of all nodes, dead ones too, have published, by Ray node id (hex). Errors: ClusterError."""
    from ray.exceptions import RpcError

    try:
        client = _connect(address)
        keys = client.internal_kv_keys(KEY_PREFIX, NAMESPACE, timeout=RPC_SECONDS)
        values = client.internal_kv_multi_get(keys, NAMESPACE, timeout=RPC_SECONDS) if keys else {}
    except RpcError as error:
        raise ClusterError("Ray", _first_line(error), "is the head still there?") from None
    return {key.removeprefix(KEY_PREFIX).decode(): NodeRecord.from_json(json.loads(values[key])) for key in values}


def _connect(address: str | None) -> Any:
    from ray._private import services
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.exceptions import AuthenticationError

    try:
        return GcsClient(address=services.canonicalize_bootstrap_address_or_die(address))
    except (ConnectionError, ValueError) as error:
        raise ClusterError("Ray", _first_line(error), "start Ray first, or give its --address") from None
    except AuthenticationError:
        advice = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH as for `ray start`"
        raise ClusterError("Ray", "a refused token", advice) from None


def _own_node(client: Any, record: NodeRecord) -> str:
    """The Ray node of this machine: by instance id where the autoscaler gave Ray one, else by local processes."""
    from ray._private import services
    from ray.core.generated.gcs_pb2 import GcsNodeInfo

    nodes = client.get_all_node_info(timeout=RPC_SECONDS).values()
    alive = {node.node_id.hex(): node for node in nodes if node.state == GcsNodeInfo.GcsNodeState.ALIVE}
    found = [node for node, about in alive.items() if record.instance_id and about.instance_id == record.instance_id]
    found = found or [node for node in services.find_node_ids() if node in alive]
    if len(found) != 1:
        got = f"{len(found)} live Ray nodes on this machine"
        raise ClusterError("Ray", got, "start one, or give --node-id" if not found else "give --node-id")
    return found[0]


def _drain(client: Any, node: str, record: NodeRecord) -> None:
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    if record.notice is None:
        return
    reason, message = DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION, f"spot notice: {record.notice.action}"
    accepted, why = client.drain_node(node, reason, message, int(record.notice.deadline * 1000))
    if not accepted:
        raise ClusterError("Ray", f"a refusal to drain {node[:12]}: {why}", "nothing to be done")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
