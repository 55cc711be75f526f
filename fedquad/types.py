"""The records that cross a round: what a strategy may know, what a device is told, what comes back, what is kept.

They are facts: frozen, without behaviour beyond views of themselves. Layers count from 0, nearest the input; a LoRA depth of d
means the layers [L-d, L). Records that hold arrays are never compared field by field: compare their digests (`adapters.digest`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Array32 = npt.NDArray[np.float32]
Memo = Mapping[str, npt.NDArray[Any] | float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A transformer as the cost model sees it."""

    name: str
    architecture: str  # bert, roberta, deberta-v2, llama, qwen2: decides the attention formula
    layers: int
    hidden: int
    intermediate: int
    heads: int
    vocabulary: int
    positions: int
    position_buckets: int = 0  # DeBERTa's relative attention span; 0 elsewhere
    key_value_heads: int = 0  # grouped-query attention; 0 means as many as heads
    head_width: int = 0  # of one attention head; 0 means hidden / heads
    has_own_head: bool = False  # a language head that is not the embeddings again
    dropout: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """What a method changes in a device's training; the defaults change nothing."""

    tail_penalty: float = 0.0  # HetLoRA's lambda on |B tail| |A tail| of every trained layer
    tail_keep: float = 1.0  # the tail starts at floor(tail_keep * rank)
    probe_batches: int = 0  # measure squared gradient norms over so many batches and train nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Everything one device is to do this round, for every method.

    FedQuad's (d, a) is trained = [L-d, L), quantized = [L-d, L-d+a), present = [0, L).
    """

    device: int
    present: tuple[int, ...]  # the layers it runs, ascending
    trained: tuple[int, ...]  # the layers whose LoRA it updates
    quantized: tuple[int, ...] = ()  # the layers that keep INT8 activations
    ranks: tuple[int, ...]  # LoRA rank of each present layer
    least_ranks: tuple[int, ...] = ()  # the least each may prune itself to; empty: no pruning
    prefix: int = 0  # of the present layers, from below: run once for each example, without dropout (rounds/prefix.py)
    known: float = 0.0  # share of the examples it draws whose prefix it keeps already, as planned
    steps: int
    learning_rate: float
    local: Local = field(default_factory=Local)

    def rank_of(self, layer: int) -> int:
        return self.ranks[self.present.index(layer)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEstimate:
    """What an assignment is predicted to cost one device."""

    compute_seconds: float
    communication_seconds: float
    peak_bytes: int
    upload_bytes: int
    download_bytes: int
    joules: float

    @property
    def seconds(self) -> float:
        return self.compute_seconds + self.communication_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One device as it reports itself at the start of a round."""

    device: int
    device_class: str
    board: str
    mode: str
    available: bool
    memory_bytes: int  # free for training: model, activations, optimizer
    flops: float  # sustained FLOP/s in training
    memory_bandwidth: float  # bytes/s
    upload_bandwidth: float  # bytes/s; inf when communication is free
    download_bandwidth: float
    training_watts: float
    idle_watts: float
    radio_watts: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Statuses:
    """A fleet's statuses of one round as arrays, one row a device; `statuses[i]` is a view of row i."""

    classes: tuple[str, ...]  # what class_of indexes
    boards: tuple[str, ...]
    modes: tuple[tuple[str, ...], ...]  # mode names of each board
    class_of: npt.NDArray[np.int16]
    board_of: npt.NDArray[np.int16]
    mode_of: npt.NDArray[np.int16]
    available: Bools
    memory_bytes: Ints
    flops: Floats
    memory_bandwidth: Floats
    upload_bandwidth: Floats
    download_bandwidth: Floats
    training_watts: Floats
    idle_watts: Floats
    radio_watts: Floats
    signals: Mapping[str, Floats] = field(default_factory=dict)  # a survey's answers, one row a device

    def __len__(self) -> int:
        return len(self.flops)

    def __getitem__(self, device: int) -> Status:
        board = int(self.board_of[device])
        return Status(
            device=device,
            device_class=self.classes[self.class_of[device]],
            board=self.boards[board],
            mode=self.modes[board][self.mode_of[device]],
            available=bool(self.available[device]),
            memory_bytes=int(self.memory_bytes[device]),
            flops=float(self.flops[device]),
            memory_bandwidth=float(self.memory_bandwidth[device]),
            upload_bandwidth=float(self.upload_bandwidth[device]),
            download_bandwidth=float(self.download_bandwidth[device]),
            training_watts=float(self.training_watts[device]),
            idle_watts=float(self.idle_watts[device]),
            radio_watts=float(self.radio_watts[device]),
        )

    @property
    def participants(self) -> tuple[int, ...]:
        """The devices that can be asked this round, ascending."""
        return tuple(int(i) for i in np.flatnonzero(self.available))


@dataclass(frozen=True, slots=True, eq=False)
class Lora:
    """One LoRA pair of one target module: dW = scale * b @ a."""

    a: Array32  # rank x in
    b: Array32  # out x rank

    @property
    def rank(self) -> int:
        return int(self.a.shape[0])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adapter:
    """LoRA pairs by layer and target module, and the head's tensors; float32, read-only."""

    layers: Mapping[int, Mapping[str, Lora]]
    head: Mapping[str, Array32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a device says of its round."""

    examples: int = 0
    tokens: int = 0  # of the examples' answers, where answers are what is learned
    seconds: float = (
        0.0  # what its round took, whatever became of it; a simulated device is charged `CostEstimate.seconds`
    )
    peak_bytes: int = 0
    loss: float = float("nan")
    lora_norm: float = 0.0  # sqrt of the sum over the pairs of all layers it runs of |B A|_F^2, after training
    ranks: tuple[int, ...] = ()  # of each trained layer as it came back; the server looks for itself
    hits: int = 0  # examples read whose prefix was kept
    misses: int = 0  # and those for which the prefix ran
    failure: str = ""  # why there is no update; empty means there is one


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Update:
    """A device's answer to its assignment: what it changed, relative to the adapter it was sent."""

    device: int
    round: int
    based_on: str  # digest of the adapter it was sent
    delta: Adapter  # the trained layers and the head; empty when the device failed
    gradient_norms: Mapping[int, float] = field(
        default_factory=dict
    )  # mean over steps of |grad of (A, B)|_2, per trained layer
    signals: Mapping[str, Floats] = field(
        default_factory=dict
    )  # a probe's answer, e.g. squared gradient norms per layer
    digest: str = ""  # of the delta, as the device reported it and the gate found it
    is_refused: bool = False  # not let in, which is another thing than lost
    report: Report = field(default_factory=Report)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ServerState:
    """What the server carries from round to round."""

    round: int  # finished rounds
    adapter: Adapter
    memo: Memo  # the strategy's own: a flat mapping of name -> array or number
    gradient_norms: Floats  # g_l, per layer; NaN until somebody has trained it
    pace: Floats  # per device: seconds measured over predicted, a moving average; NaN until it has answered
    mean_seconds: float  # t_avg: mean completion time of the last round's participants; 0 before the first
    clock_seconds: float  # the fleet's time since the start, virtual when simulated
    norms: (
        Floats  # medians of the last rounds' updates, a row a round, a column a layer, the head last (rounds/bounds.py)
    )
    offences: Ints  # per device: rounds in a row in which it was refused
    suspended: Ints  # per device: the round up to which it is left out


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLayout:
    """A loaded model as the server needs it: shapes and names, no tensors."""

    shape: ModelShape
    digest: str  # of the backbone's weights
    layer_path: str  # where the transformer layers live: roberta.encoder.layer
    targets: Mapping[str, tuple[int, int]]  # LoRA target inside a layer -> (in, out): attention.self.query -> (64, 64)
    head: Mapping[
        str, tuple[int, ...]
    ]  # parameters every device trains, by full name -> shape: classifier.dense.weight
    head_modules: tuple[str, ...]  # the modules they belong to: classifier
    head_std: float  # standard deviation their matrices start with; vectors start at zero
    labels: int
    objective: str = "classification"
