"""Machines: the agent that watches each node, the cluster files for `ray up`, and checks before money is spent.

Always holds: nothing here imports paramalloc, cost or torch; Ray is imported by `drain.py` and `ray_schema.py`
alone, boto3 by `aws.py`, botocore's tables by `validate`; no credential is logged or written.
Run `python -m cluster agent | tell-ray | validate | setup | doctor | orphans` (`--help` says more).
"""

from cluster.errors import ClusterError
from cluster.notice import Notice, pending

__all__ = ["ClusterError", "Notice", "pending"]
