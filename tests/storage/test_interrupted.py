"""What was cut short while it was stored, fetched or removed is made up for the next time."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from paramalloc.errors import UserError
from paramalloc.results import ResultsFolder
from paramalloc.storage import lease as lease_module
from paramalloc.storage.objects import Objects, StorageError, open_objects
from paramalloc.storage.session import fetch, stored
from tests.storage.heads import CONTENT, LOCAL, files, in_storage, write, written_here


class Cut:
    """Ends the driver, as Ctrl-C would, at the call of a method of `Objects` for a name that ends like this."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str, ending: str) -> None:
        real: Callable[..., object] = getattr(Objects, method)
        self.on = True

        def cut(objects: Objects, *arguments: object) -> object:
            if self.on and any(str(argument).endswith(ending) for argument in arguments):
                raise KeyboardInterrupt
            return real(objects, *arguments)

        monkeypatch.setattr(Objects, method, cut)


@pytest.mark.parametrize("ending", ["best/manifest.json", "step-00000010/manifest.json", "decisions.jsonl"])
def test_a_first_upload_that_was_interrupted_is_made_again_with_every_checkpoint(
    head: Callable[[str], ResultsFolder],
    objects: Objects,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
) -> None:
    folder = written_here(head("a"), LOCAL)
    cut = Cut(monkeypatch, "send", ending)
    with pytest.raises(KeyboardInterrupt), stored(folder, said.append):
        pass
    assert "sweep.yaml" not in in_storage(objects)
    cut.on = False
    with stored(folder, said.append):
        pass
    assert in_storage(objects) == LOCAL.keys()
    assert files(folder.root) == LOCAL


def test_a_folder_whose_first_upload_was_interrupted_is_not_overwritten_by_who_came_meanwhile(
    head: Callable[[str], ResultsFolder], objects: Objects, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written_here(head("a"), LOCAL)
    cut = Cut(monkeypatch, "send", "manifest.json")
    with pytest.raises(KeyboardInterrupt), stored(folder, said.append):
        pass
    cut.on = False
    with stored(head("b"), said.append):
        write(head("b"), "sweep.yaml", "another")
    with pytest.raises(UserError, match="never were in storage"), stored(folder, said.append):
        pass
    assert files(folder.root) == LOCAL


def test_a_new_head_that_was_interrupted_while_fetching_goes_on_at_once(
    head: Callable[[str], ResultsFolder], objects: Objects, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with stored(head("a"), said.append):
        written_here(head("a"), CONTENT | {"tokenizer-600.json": "{}"})
    cut = Cut(monkeypatch, "fetch", "tokenizer-600.json")  # the one after sweep.yaml
    with pytest.raises(KeyboardInterrupt), stored(head("b"), said.append):
        pass
    assert head("b").sweep.exists()
    with pytest.raises(KeyboardInterrupt):
        fetch(objects.address, head("c").root, whole=False)
    cut.on = False
    assert lease_module.newest_copy(objects) == head("a").copy_name.read_text()
    for name in ("b", "a"):
        with stored(head(name), said.append):
            assert files(head(name).root) == CONTENT | {"tokenizer-600.json": "{}"}
    assert said == [f"taking over the results in {objects.address}"] * 3
    fetch(objects.address, head("c").root, whole=False)
    assert files(head("c").root) == CONTENT | {"tokenizer-600.json": "{}"}


def test_what_a_fresh_start_was_interrupted_in_removing_is_no_trials_checkpoint(
    head: Callable[[str], ResultsFolder], objects: Objects, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with stored(written_here(head("a"), LOCAL), said.append):
        pass
    delete, calls = Objects.delete, []

    def only_the_first(self: Objects, names: Iterable[str]) -> None:
        calls.append(sorted(names))
        if len(calls) > 1:
            raise StorageError("s3://results-bucket: got SlowDown")
        delete(self, calls[0])

    monkeypatch.setattr(Objects, "delete", only_the_first)
    with pytest.raises(StorageError), stored(head("b"), said.append, aside=".old-1"):
        pass
    monkeypatch.setattr(Objects, "delete", delete)
    assert open_objects(f"{objects.address}.old-1").names().keys() == LOCAL.keys()
    with stored(head("b"), said.append):
        assert in_storage(objects) == set()
