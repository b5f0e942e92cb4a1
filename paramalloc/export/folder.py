"""A model folder that Hugging Face `transformers` loads: weights, configuration, tokenizer, and the code to run them.

Always holds: the folder appears whole or not at all, and replaces an earlier export only, never another folder;
logits and tokens are those of the training code. `write_folder(out, model, tokenizer_file, card)`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from paramalloc.allocation import Shape
from paramalloc.data.tokenizer import END_OF_TEXT, END_OF_TEXT_ID
from paramalloc.errors import UserError
from paramalloc.files import atomic_write, read_json, write_json
from paramalloc.model import Transformer

MODEL_TYPE = "paramalloc"
CUSTOM_CODE = Path(__file__).parent / "custom_code"
_CONFIGURATION, _MODELING = "configuration_paramalloc", "modeling_paramalloc"
_CONFIG = "config.json"


def write_folder(out: Path, model: Transformer, tokenizer_file: Path, card: str) -> None:
    """Write the model folder `out`; an earlier export there is replaced whole.

    Args:
        out: where to.
        model: the weights; their number format is kept.
        tokenizer_file: the tokenizer.json that the model was trained with.
        card: the README.md.

    Errors: UserError when `out` is something else than an export or an empty folder; OSError when the disk is full.
    """
    out = out.resolve()
    _require_replaceable(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        _fill(building, model, tokenizer_file, card)
        building.chmod(0o755)
        _put_in_place(building, out)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _require_replaceable(out: Path) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        known = read_json(out / _CONFIG)["model_type"]
    except (OSError, ValueError, KeyError, TypeError):
        known = None
    if known != MODEL_TYPE:
        raise UserError("--out", f"'{out}', which holds something else", "give a new folder, or one with an export")


def _fill(folder: Path, model: Transformer, tokenizer_file: Path, card: str) -> None:
    shape = model.shape
    write_json(folder / _CONFIG, _config(shape))
    write_json(folder / "generation_config.json", _special_ids() | {"max_length": shape.context_length})
    write_json(folder / "tokenizer_config.json", _tokenizer_config(shape))
    write_json(folder / "special_tokens_map.json", _special_tokens())
    atomic_write(folder / "tokenizer.json", tokenizer_file.read_bytes())
    atomic_write(folder / "README.md", card)
    for name in (_CONFIGURATION, _MODELING):
        atomic_write(folder / f"{name}.py", (CUSTOM_CODE / f"{name}.py").read_bytes())
    atomic_write(folder / "model.safetensors", save(_weights(model), metadata={"format": "pt"}))


def _config(shape: Shape) -> dict[str, Any]:
    sizes = asdict(shape)
    return {
        "model_type": MODEL_TYPE,
        "architectures": ["ParamallocForCausalLM"],
        "auto_map": {
            "AutoConfig": f"{_CONFIGURATION}.ParamallocConfig",
            "AutoModelForCausalLM": f"{_MODELING}.ParamallocForCausalLM",
        },
        "tie_word_embeddings": sizes.pop("tied"),
        **sizes,
        **_special_ids(),
    }


def _special_ids() -> dict[str, int]:
    """End-of-text opens a text and closes it, and fills up a batch, where it is masked."""
    return {"bos_token_id": END_OF_TEXT_ID, "eos_token_id": END_OF_TEXT_ID, "pad_token_id": END_OF_TEXT_ID}


def _special_tokens() -> dict[str, str]:
    return {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT}


def _tokenizer_config(shape: Shape) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": shape.context_length,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,  # `<|endoftext|>` inside a text is text, as it was in training
        **_special_tokens(),
    }


def _weights(model: Transformer) -> dict[str, torch.Tensor]:
    """Every parameter once: a tied head is the token table and has no entry of its own."""
    return {name: parameter.detach().contiguous() for name, parameter in model.named_parameters()}


def _put_in_place(building: Path, out: Path) -> None:
    """Rename the finished folder to its name; an earlier one goes only once the new one is there."""
    aside = building.with_name(f"{building.name}.replaced")
    if out.exists():
        os.rename(out, aside)
    os.rename(building, out)
    shutil.rmtree(aside, ignore_errors=True)
