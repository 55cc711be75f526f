"""What any assignment costs a device: seconds, peak bytes, traffic, joules. One model prices every method.

For present layers P, trained S with lowest j, quantized Q, ranks r_l (methods of one step; r0 is the campaign's rank):

    C    = |P| f + e + sum over P of lora_f r_l/r0 + sum over P at or above j of (b + lora_b r_l/r0)
           + sum over S of g r_l/r0 - delta + c_a |Q|
    mem  = m_e + |P| m_w + sum over S of m_o + (frozen above j) (1 - phi) m_o - |Q| m_q - lowest(j)
    t    = steps C / q + upload / up + download / down

FedQuad's (d, a) is the special case C = c_f + c_d d + c_a a (Eq. 6) and mem <= m_f + m_o d - m_q a (Eq. 11). What the
lowest layer spares is left out of it, and where in INT8 it keeps more than the others, m_f holds the difference: Eq. 11
never lies below the peak.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedquad.fleets.boards import Precision
from fedquad.prices import flops, heads, memory
from fedquad.prices.flops import LayerFlops
from fedquad.prices.memory import WIRE_BYTES, LayerBytes
from fedquad.prices.shapes import shape_named
from fedquad.spec import CostSpec, ModelSpec, TrainingSpec
from fedquad.types import Assignment, CostEstimate, ModelShape, Status

PAPER_QUANTIZATION = 0.75  # c_a / c_d: 36 % on a step of which c_f is about L c_d
ROOFLINE_SHARE = 0.7  # of the bandwidth that elementwise kernels reach
STORAGE_BANDWIDTH = 8e7  # bytes/s of an SD card, where a device keeps prefixes


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """The atoms of every estimate, for one shape, batch, sequence, precision, attention and rank."""

    name: str  # of the shape that is priced
    layers: int
    batch: int
    sequence: int
    precision: Precision
    attention: str
    rank: int
    flops: LayerFlops
    head_forward: int
    head_gradient: int
    head_backward: int  # the gradient it passes on to the layers
    bytes: LayerBytes
    fixed_bytes: int  # m_e: embeddings, head with its optimizer, workspace
    head_bytes: int  # on the wire
    prefix_bytes: int  # of one batch above a prefix, in INT8 with a scale for each block of 32 by 32
    quantization: str
    quantization_flops: float  # c_a, unless it is charged as traffic

    @property
    def constants(self) -> "Constants":
        """c_f, c_d, c_a per step and m_f, m_o, m_q: Eq. 6 and Eq. 11."""
        layer, size = self.flops, self.bytes
        return Constants(
            c_f=self.layers * (layer.forward + layer.lora_forward)
            + self.head_forward
            + self.head_gradient
            + self.head_backward
            - layer.lowest
            - layer.lora_lowest,
            c_d=layer.backward + layer.gradient + layer.lora_backward + layer.lora_gradient,
            c_a=self.quantization_flops,
            m_f=self.fixed_bytes
            + self.layers * (size.weights + self.rank * size.lora_per_rank)
            + max(0, -size.lowest_quantized),
            m_o=size.trained,
            m_q=size.saved,
        )

    @property
    def wire_bytes(self) -> int:
        """Of one layer's LoRA at the campaign's rank."""
        return self.rank * self.bytes.wire_per_rank

    @property
    def forward_flops(self) -> int:
        """Of one step: every layer and the head."""
        return self.layers * (self.flops.forward + self.flops.lora_forward) + self.head_forward


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """Eq. 6 in FLOPs per step and Eq. 11 in bytes."""

    c_f: float
    c_d: float
    c_a: float
    m_f: int
    m_o: int
    m_q: int


def cost_model(
    shape: ModelShape,
    model: ModelSpec,
    training: TrainingSpec,
    cost: CostSpec,
    labels: int,
    profile: Mapping[str, Any] | None = None,
    head_cost: heads.HeadCost = heads.of_sequence,
) -> CostModel:
    """Derive the atoms of the trained shape, or of the one it is priced as, under the objective's head."""
    priced = shape_named(cost.priced_as, shape.layers) if cost.priced_as else shape
    batch = cost.batch or (32 if cost.priced_as else training.batch)
    sequence = cost.sequence or (128 if cost.priced_as else model.max_length)
    attention = memory.attention_of(priced.architecture, model)
    targets = flops.targets_of(priced, model.targets)
    layer = flops.layer_flops(priced, batch, sequence, model.rank, targets, attention)
    head = head_cost(priced, batch, sequence, labels, memory.ELEMENT_BYTES[model.precision])
    size, fixed = (
        memory.layer_bytes(priced, model, batch, sequence, head.is_masked),
        memory.fixed_bytes(priced, model, batch, sequence, head),
    )
    if cost.memory == "paper":
        size = memory.as_in_paper(size)
    measured: Mapping[str, float] = {}
    if "measured" in (cost.memory, cost.quantization):
        measured = memory.measured_constants(profile, cost.profile, priced, model, batch, sequence)
    if cost.memory == "measured":
        size, fixed = memory.as_measured(size, measured, priced.layers, model.rank)
    return CostModel(
        name=priced.name,
        layers=priced.layers,
        batch=batch,
        sequence=sequence,
        precision=model.precision,
        attention=attention,
        rank=model.rank,
        flops=layer,
        head_forward=head.forward,
        head_gradient=head.gradient,
        head_backward=head.backward,
        bytes=size,
        fixed_bytes=fixed,
        head_bytes=WIRE_BYTES * head.weights,
        prefix_bytes=batch * (sequence * priced.hidden + 4 * -(-sequence // 32) * -(-priced.hidden // 32)),
        quantization=cost.quantization,
        quantization_flops=quantization_flops(cost.quantization, layer, measured),
    )


def quantization_flops(kind: str, layer: LayerFlops, measured: Mapping[str, float]) -> float:
    """c_a, as a share of c_d; nothing where it is charged as traffic."""
    c_d = layer.backward + layer.gradient + layer.lora_backward + layer.lora_gradient
    if kind == "measured":
        return c_d * measured["c_a"] / measured["c_d"]
    return c_d * PAPER_QUANTIZATION if kind == "paper" else 0.0


def estimate(assignment: Assignment, cost: CostModel, status: Status) -> CostEstimate:
    """Price an assignment on a device in its present state."""
    batches = assignment.steps + assignment.local.probe_batches
    seconds = batches * step_seconds(assignment, cost, status)
    upload, download = traffic(assignment, cost)
    communication = upload / status.upload_bandwidth + download / status.download_bandwidth
    return CostEstimate(
        compute_seconds=seconds,
        communication_seconds=communication,
        peak_bytes=peak_bytes(assignment, cost),
        upload_bytes=upload,
        download_bytes=download,
        joules=seconds * status.training_watts + communication * (status.idle_watts + status.radio_watts),
    )


def step_seconds(assignment: Assignment, cost: CostModel, status: Status) -> float:
    """Seconds of one batch."""
    quantized = len(assignment.quantized)
    seconds = (step_flops(assignment, cost) + cost.quantization_flops * quantized) / status.flops
    if cost.quantization == "roofline":
        seconds += quantized * cost.bytes.traffic / (ROOFLINE_SHARE * status.memory_bandwidth)
    if assignment.prefix:  # read where it is kept, written where it is not
        seconds += cost.prefix_bytes / STORAGE_BANDWIDTH
    return seconds


def step_flops(assignment: Assignment, cost: CostModel) -> float:
    """FLOPs of one batch, quantization aside."""
    layer, rank, ranks = cost.flops, cost.rank, dict(zip(assignment.present, assignment.ranks))
    below = assignment.ranks[: assignment.prefix]
    run, run_ranks = len(ranks) - assignment.known * len(below), sum(ranks.values()) - assignment.known * sum(below)
    total = run * layer.forward + layer.lora_forward * run_ranks / rank
    total += cost.head_forward + cost.head_gradient
    if not assignment.trained:
        return total
    lowest = min(assignment.trained)
    trained: float = len(assignment.trained) * layer.gradient
    trained += layer.lora_gradient * sum(ranks[one] for one in assignment.trained) / rank
    above = [r for present, r in ranks.items() if present >= lowest]
    passed = len(above) * layer.backward + layer.lora_backward * sum(above) / rank
    return total + cost.head_backward + trained + passed - layer.lowest - layer.lora_lowest * ranks[lowest] / rank


def peak_bytes(assignment: Assignment, cost: CostModel) -> int:
    """Peak bytes of a step: weights, gradients, optimizer state, what autograd keeps, and the largest temporaries."""
    size, ranks = cost.bytes, dict(zip(assignment.present, assignment.ranks))
    total = cost.fixed_bytes + len(ranks) * size.weights + sum(ranks.values()) * size.lora_per_rank
    if not assignment.trained:
        return total
    lowest, trained = min(assignment.trained), set(assignment.trained)
    total += sum(size.trained + (ranks[one] - cost.rank) * size.trained_per_rank for one in trained)
    total += size.frozen * sum(present > lowest and present not in trained for present in ranks)
    total -= spared_bytes(assignment, cost)
    return total


def spared_bytes(assignment: Assignment, cost: CostModel) -> int:
    """What INT8 spares, and what the lowest trained layer spares in either form."""
    size, quantized, lowest = cost.bytes, set(assignment.quantized), min(assignment.trained)
    below = dict(zip(assignment.present[1:], assignment.present))
    firsts = sum(below.get(layer) not in quantized for layer in quantized - {lowest})
    saved = sum(size.saved + (assignment.rank_of(one) - cost.rank) * size.saved_per_rank for one in quantized)
    return saved - firsts * size.first_quantized + (size.lowest_quantized if lowest in quantized else size.lowest)


def traffic(assignment: Assignment, cost: CostModel) -> tuple[int, int]:
    """Bytes up (what was trained, or a probe's numbers) and down (the present layers); the head both ways."""
    size, ranks = cost.bytes, dict(zip(assignment.present, assignment.ranks))
    down = cost.head_bytes + size.wire_per_rank * sum(ranks.values())
    if not assignment.steps:
        return 8 * len(assignment.trained), down
    return cost.head_bytes + size.wire_per_rank * sum(ranks[one] for one in assignment.trained), down
