"""What a node knows about itself, as two small files: the flag of a spot notice and the record of the machine.

Always holds: a file is replaced whole or not at all, so a reader never sees half of one; the flag exists exactly as
long as the notice stands; the standard library is all that is needed.
A trial asks `pending()` at every step; without a notice that is one failing `stat`, about ten microseconds.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

NOTICE_FILE_VARIABLE = "PARAMALLOC_NOTICE_FILE"
SHARED_FOLDER = Path("/tmp/paramalloc")
# EC2 takes the machine at the deadline. A flag this much older was left behind by an agent that was killed.
STALE_AFTER_SECONDS = 600.0


@dataclass(frozen=True)
class Notice:
    """EC2 will take this machine. Times are Unix seconds; `action` is terminate, stop or hibernate."""

    action: str
    deadline: float
    noticed_at: float
    kind: str = "spot"


@dataclass(frozen=True)
class NodeRecord:
    """What the ledger wants to know about a machine; None is unknown. `lifecycle`: spot, on-demand, ...

    `launched_at`: when EC2 started the instance (Unix seconds), before it could boot and join.
    `rebalance_at`: when EC2 recommended to move away (Unix seconds), a hint that a notice may follow.
    """

    instance_id: str | None = None
    instance_type: str | None = None
    zone: str | None = None
    lifecycle: str | None = None
    launched_at: float | None = None
    rebalance_at: float | None = None
    notice: Notice | None = None

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> NodeRecord:
        """The record of `asdict`. Errors: TypeError for fields that are not those of a record."""
        record = cls(**fields)
        return record if record.notice is None else replace(record, notice=Notice(**fields["notice"]))


def notice_path() -> Path:
    """Where this node's flag is: `$PARAMALLOC_NOTICE_FILE`, or a folder of this user and this host under /tmp."""
    if given := os.environ.get(NOTICE_FILE_VARIABLE):
        return Path(given)
    return SHARED_FOLDER / f"{os.getuid()}-{os.uname().nodename}" / "notice.json"


def record_path(flag: Path) -> Path:
    """The machine's record lies beside the flag; two flags in one folder have two records."""
    return flag.with_name("node.json" if flag.name == "notice.json" else f"{flag.stem}.node.json")


def pending(flag: Path | None = None, now: float | None = None) -> Notice | None:
    """The notice that stands on this node, None without one; a flag that cannot be read is none.

    Args:
        flag: the flag file, default `notice_path()`; work it out once and pass it: that is most of the time.
        now: Unix seconds, default the clock.
    """
    path = flag or notice_path()
    try:
        os.stat(path)
    except OSError:
        return None
    notice = _read_notice(path)
    if notice and (time.time() if now is None else now) > notice.deadline + STALE_AFTER_SECONDS:
        return None
    return notice


def _read_notice(path: Path) -> Notice | None:
    try:
        fields = json.loads(path.read_bytes())
        return Notice(str(fields["action"]), float(fields["deadline"]), float(fields["noticed_at"]), fields["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_notice(flag: Path, notice: Notice) -> None:
    _write_json(flag, asdict(notice))


def write_record(path: Path, record: NodeRecord) -> None:
    _write_json(path, asdict(record))


def read_record(path: Path) -> NodeRecord | None:
    """What the agent wrote about this machine; None where there is no agent, or nothing it could find out."""
    try:
        return NodeRecord.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def make_folder(folder: Path) -> None:
    """Make the flag's folder; the default one for this user alone. Errors: OSError, also when it is another's."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    shared = folder.parent == SHARED_FOLDER
    if shared and folder.parent.stat().st_uid == os.getuid():
        folder.parent.chmod(0o1777)  # Like /tmp itself: all may add a folder, none may remove another's.
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if shared and not (stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid()):
        raise PermissionError(f"{folder} belongs to another user")


def _write_json(path: Path, value: dict[str, Any]) -> None:
    content = json.dumps(value, allow_nan=False) + "\n"
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(content)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
