"""Text to arrays, once: a task's rows through the model's tokenizer, kept as safetensors under the digest of all that
made them.

Reading needs numpy and safetensors alone, because the server deals examples out from the labels and never imports
torch.

    prepared = prepare(DataSpec(name="mini-nli"), ModelSpec(), seed=0, cache=Path("runs/cache"))
    prepared["splits"]["train"]   # {"path": ".../tokens/3f...safetensors", "digest": "3f...", "size": 4000}
    read(Path(prepared["splits"]["train"]["path"])).labels
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from fedquad import discover
from fedquad.errors import DeviceError
from fedquad.learn.encoding import NO_LABEL, Arrays, Reader
from fedquad.learn.source import locate
from fedquad.learn.tables import Request, Split, Table, TextTask
from fedquad.rounds import adapters
from fedquad.spec import DataSpec, ModelSpec
from fedquad.types import Ints

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SCHEMA = "1"  # of the cached files: part of every digest


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Encoded:
    """Examples as the model reads them, padded on the right to one length."""

    input_ids: npt.NDArray[np.int32]  # examples x length
    attention_mask: npt.NDArray[np.uint8]
    labels: npt.NDArray[Any]  # one an example, or one a token
    token_type_ids: npt.NDArray[np.uint8] | None = None
    groups: Ints | None = None  # the code of the partition's column, one an example

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def answer_tokens(self) -> int:
        """How many tokens are learned, where each has a label of its own; else none."""
        return int((self.labels != NO_LABEL).sum()) if self.labels.ndim == 2 else 0

    def rows(self, indices: Ints | Sequence[int]) -> "Encoded":
        """The examples at these indices, in their order."""
        at = np.asarray(indices, dtype=np.int64)
        return Encoded(
            input_ids=self.input_ids[at],
            attention_mask=self.attention_mask[at],
            labels=self.labels[at],
            token_type_ids=None if self.token_type_ids is None else self.token_type_ids[at],
            groups=None if self.groups is None else self.groups[at],
        )

    @property
    def lengths(self) -> Ints:
        """Tokens of each example, without padding."""
        return np.asarray(self.attention_mask.sum(axis=1), np.int64)


def read(path: Path) -> Encoded:
    """Read a file that `prepare` wrote."""
    if not path.is_file():
        raise DeviceError(f"there are no tokens at {path}; prepare the campaign's data on this machine again")
    return Encoded(**load_file(path))


def read_labels(path: Path) -> tuple[Ints, Ints | None]:
    """Read what examples are dealt out by: their labels, and the codes of the partition's column if there is one."""
    with safe_open(path, framework="numpy") as file:
        labels: Ints = file.get_tensor("labels")
        groups: Ints | None = file.get_tensor("groups") if "groups" in file.keys() else None  # noqa: SIM118 (no dict)
        return labels, groups


def prepare(data: DataSpec, model: ModelSpec, seed: int, cache: Path) -> dict[str, Any]:
    """Tokenise the task's splits, or find them done; return a JSON-ready description of where they are."""
    from fedquad.learn.task import find_task

    task = find_task(data)
    sizes: tuple[tuple[Split, int | None], ...] = (
        ("train", data.train),
        ("validation", data.validation),
        ("test", data.test),
    )
    tables = (
        (split, task.load(Request(split=split, size=size, seed=seed, source=data.source)), data.column)
        for split, size in sizes
    )
    return keep(task, tables, data, model, cache)


def keep(
    task: TextTask, tables: Iterable[tuple[Split, Table, str]], data: DataSpec, model: ModelSpec, cache: Path
) -> dict[str, Any]:
    """Tokenise a task's splits, the training split with the column it is dealt out by; one table is in memory at a time."""
    from fedquad.learn.practice import practice_of

    practice = practice_of(task.objective)
    tokenizer, pad = _tokenizer(model.name)
    maker = _digest_of_tokenizer(tokenizer, pad, model.max_length, is_spoken=task.objective == "causal_lm")
    reader = Reader(tokenizer=tokenizer, pad=pad, length=model.max_length, digest=maker)
    splits = {
        split: _kept(table, task, column if split == "train" else "", reader, practice.encode, cache)
        for split, table, column in tables
    }
    return {
        "task": task.name,
        "objective": task.objective,
        "labels": discover.objective(task.objective).outputs(task.labels),
        "splits": splits,
        "metrics": metrics_of(data, task),
        "note": task.note,
    }


def metrics_of(data: DataSpec, task: TextTask) -> list[str]:
    """What the task is scored by: first the one it is judged by."""
    known = list(task.metrics or (discover.objective(task.objective).metrics[0].name,))
    if not data.metric:
        return known
    chosen = discover.objective(task.objective).metric(data.metric).name
    return [chosen, *(name for name in known if name != chosen)]


def _kept(
    table: Table, task: TextTask, column: str, reader: Reader, encode: Callable[..., Arrays], cache: Path
) -> dict[str, Any]:
    digest = _digest_of_table(table, task, column, reader.digest)
    path = cache / "tokens" / f"{digest}.safetensors"
    content = _content(path)
    if not content:
        arrays = encode(table, task, reader)
        if column:
            arrays["groups"] = _codes(table, column, task.name)
        content = _write(path, arrays)
    return {"path": str(path), "digest": digest, "content": content, "size": len(table)}


def _content(path: Path) -> str:
    """The digest of what a kept file holds, if that is what it was written with; its name tells only what it was made of."""
    if not path.is_file():
        return ""
    try:
        with safe_open(path, framework="numpy") as file:
            written = str((file.metadata() or {}).get("content", ""))
        return written if adapters.tensors_digest(load_file(path)) == written else ""
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, OverflowError):
        return ""


def _codes(table: Table, column: str, task: str) -> Ints:
    if column not in table.columns:
        raise DeviceError(f"data.column is {column!r}, but {task} has the columns {', '.join(table.columns)}")
    _, codes = np.unique(np.asarray(table.columns[column]), return_inverse=True)
    return codes.astype(np.int64)


def _write(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> str:
    """Write the arrays with the digest of their content, and return that."""
    content = adapters.tensors_digest(arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")  # two campaigns may tokenise the same task at once
    try:
        save_file(arrays, partial, metadata={"content": content})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return content


def _tokenizer(name: str) -> tuple["PreTrainedTokenizerBase", int]:
    from transformers import AutoConfig, AutoTokenizer

    folder = locate(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return tokenizer, pad_id(AutoConfig.from_pretrained(folder, trust_remote_code=False), folder)
    except (OSError, ValueError, ImportError) as error:
        raise DeviceError(
            f"the tokenizer of model {name!r} in {folder} cannot be loaded: {' '.join(str(error).split())}"
        ) from error


def pad_id(config: Any, folder: Path) -> int:
    """The token that pads: the model's, the tokenizer's, or, where decoders have none, the one that ends a text."""
    if getattr(config, "pad_token_id", None) is not None:
        return int(config.pad_token_id)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    for found in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if found is not None:
            return int(found)
    raise ValueError("neither its configuration nor its tokenizer names a token to pad with")


def _digest_of_tokenizer(tokenizer: "PreTrainedTokenizerBase", pad: int, length: int, is_spoken: bool = False) -> str:
    """What text becomes tokens by; of conversations, the template and the tokens that begin and end them too."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    kinds = ",".join(tokenizer.model_input_names)
    if is_spoken:
        text += repr((tokenizer.chat_template, tokenizer.bos_token_id, tokenizer.eos_token_id))
    return hashlib.sha256(f"{SCHEMA}|{type(tokenizer).__name__}|{kinds}|{pad}|{length}|{text}".encode()).hexdigest()


def _digest_of_table(table: Table, task: TextTask, column: str, maker: str) -> str:
    sha = hashlib.sha256(f"{maker}|{column}|{len(table)}|".encode())
    if task.objective == "classification":
        sha.update(np.asarray(table.labels, np.int64).tobytes())
    else:
        sha.update(repr((task.objective, task.labels, table.labels)).encode())
    for name in (*task.columns, *((column,) if column in table.columns else ())):
        sha.update("\x1e".join(table.columns[name]).encode())
        sha.update(b"\x1d")
    return sha.hexdigest()
