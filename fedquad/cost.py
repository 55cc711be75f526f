"""What any assignment costs a device: seconds, peak bytes, traffic, joules. One model prices every method.

For present layers P, trained S with lowest j, quantized Q, ranks r_l (methods of one step; r0 is the campaign's rank):

    C    = |P| f + e + sum over P of lora_f r_l/r0 + sum over P at or above j of (b + lora_b r_l/r0)
           + sum over S of g r_l/r0 - delta + c_a |Q|
    mem  = m_e + |P| m_w + sum over S of m_o + (frozen above j) (1 - phi) m_o - |Q| m_q - lowest(j)
    t    = steps C / q + upload / up + download / down

FedQuad's (d, a) is the special case C = c_f + c_d d + c_a a (Eq. 6) and mem <= m_f + m_o d - m_q a (Eq. 11), in which
the lowest layer's savings are left out of the memory: Eq. 11 never lies below the peak.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

from fedquad import flops, memory
from fedquad.boards import Precision
from fedquad.errors import SpecError
from fedquad.flops import LayerFlops
from fedquad.memory import CODE_BYTES, ELEMENT_BYTES
from fedquad.shapes import shape_named
from fedquad.spec import CostSpec, ModelSpec, TrainingSpec
from fedquad.types import Assignment, CostEstimate, ModelShape, Status

PAPER_QUANTIZATION = 0.75  # c_a / c_d: 36 % on a step of which c_f is about L c_d
PAPER_SAVING = 0.58  # m_q / m_o
PAPER_LORA_SHARE = 0.13  # phi, fitted from Figure 2(a)
PAPER_LAYER_BYTES = 199 * 2**20  # m_o of RoBERTa-base at batch 32, sequence 128
ROOFLINE_SHARE = 0.7  # of the bandwidth that elementwise kernels reach
OPTIMIZER_BYTES = 12  # per trained float32: gradient and Adam's two moments
ADAPTER_BYTES = 4  # per element on the wire and in memory: float32


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerBytes:
    """One layer's bytes in a step at the campaign's rank."""

    weights: int  # frozen
    trained: int  # m_o: what a trained layer keeps, gradients and optimizer state included
    frozen: int  # what a frozen layer above a trained one keeps
    saved: int  # m_q
    lowest: int  # what the lowest trained layer spares
    lowest_quantized: int  # and when it is quantized
    per_rank: int  # of `trained`, what one unit of rank adds
    adapter_per_rank: int  # LoRA parameters of one layer per unit of rank, on the wire and in memory
    b_per_rank: int  # of them, B's
    traffic: int  # bytes moved to quantize and dequantize


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
    head_backward: int
    bytes: LayerBytes
    fixed_bytes: int  # m_e: embeddings, head with its optimizer, workspace
    head_bytes: int  # on the wire
    quantization: str
    quantization_flops: float  # c_a, unless it is charged as traffic

    @property
    def constants(self) -> "Constants":
        """c_f, c_d, c_a per step and m_f, m_o, m_q: Eq. 6 and Eq. 11."""
        layer, size = self.flops, self.bytes
        return Constants(
            c_f=self.layers * (layer.forward + layer.lora_forward)
            + self.head_forward
            + self.head_backward
            - layer.lowest
            - layer.lora_lowest,
            c_d=layer.backward + layer.lora_backward + layer.lora_gradient,
            c_a=self.quantization_flops,
            m_f=self.fixed_bytes + self.layers * (size.weights + self.rank * size.adapter_per_rank),
            m_o=size.trained,
            m_q=size.saved,
        )

    @property
    def forward_flops(self) -> int:
        """Of one step: every layer and the head."""
        return self.layers * (self.flops.forward + self.flops.lora_forward) + self.head_forward

    def memory_of_depth(self, depth: int) -> int:
        """Bytes that vanilla FedLoRA of this depth is given: the paper's way to say how much memory a device has."""
        constants = self.constants
        return constants.m_f + constants.m_o * depth


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
) -> CostModel:
    """Derive the atoms of the trained shape, or of the one it is priced as."""
    priced = shape_named(cost.priced_as, shape.layers) if cost.priced_as else shape
    batch = cost.batch or (32 if cost.priced_as else training.batch)
    sequence = cost.sequence or (128 if cost.priced_as else model.max_length)
    attention = "eager" if priced.architecture == "deberta-v2" else model.attention
    targets = flops.targets_of(priced, model.targets)
    layer = flops.layer_flops(priced, batch, sequence, model.rank, targets)
    size = layer_bytes(priced, model, batch, sequence, attention)
    if cost.memory == "paper":
        size = as_in_paper(size, batch, sequence, priced, model)
    element = ELEMENT_BYTES[model.precision]
    head = memory.head_weights(priced, labels)
    forward, backward = flops.head_flops(priced, batch, labels)
    made = CostModel(
        name=priced.name,
        layers=priced.layers,
        batch=batch,
        sequence=sequence,
        precision=model.precision,
        attention=attention,
        rank=model.rank,
        flops=layer,
        head_forward=forward,
        head_backward=backward,
        bytes=size,
        fixed_bytes=element * (memory.embedding_weights(priced) + memory.pooler_weights(priced))
        + (ADAPTER_BYTES + OPTIMIZER_BYTES) * head
        + memory.workspace(priced, batch * sequence, sequence, attention, element),
        head_bytes=ADAPTER_BYTES * head,
        quantization=cost.quantization,
        quantization_flops=0.0
        if cost.quantization == "roofline"
        else PAPER_QUANTIZATION * (layer.backward + 2 * layer.lora_backward),
    )
    return made


def layer_bytes(shape: ModelShape, model: ModelSpec, batch: int, sequence: int, attention: str) -> LayerBytes:
    """Count one layer's bytes."""
    tokens, element = batch * sequence, ELEMENT_BYTES[model.precision]
    targets = flops.targets_of(shape, model.targets)
    kept = memory.kept_per_token(shape, sequence, attention, targets, model.dropout)
    parameters = sum(target.inputs + target.outputs for target in targets)
    per_rank = OPTIMIZER_BYTES * parameters + tokens * element * kept.narrow
    frozen = tokens * (element * kept.floats + kept.exact + kept.masks)
    saving = element - CODE_BYTES
    return LayerBytes(
        weights=element * memory.layer_weights(shape),
        trained=frozen + tokens * element * kept.inputs + model.rank * per_rank,
        frozen=frozen,
        saved=floor(tokens * saving * kept.floats),
        lowest=tokens * (element * kept.lowest_floats + kept.lowest_masks),
        lowest_quantized=ceil(tokens * (CODE_BYTES * kept.lowest_floats + kept.lowest_masks)),
        per_rank=per_rank,
        adapter_per_rank=ADAPTER_BYTES * parameters,
        b_per_rank=ADAPTER_BYTES * sum(target.outputs for target in targets),
        # Quantizing reads each element and writes a code; dequantizing reads the code and writes the element.
        traffic=tokens * (2 * element + 2) * kept.floats,
    )


def as_in_paper(size: LayerBytes, batch: int, sequence: int, shape: ModelShape, model: ModelSpec) -> LayerBytes:
    """Scale a layer's bytes so that RoBERTa-base, batch 32, sequence 128, keeps the paper's 199 MiB; INT8 saves 58 %."""
    reference = layer_bytes(shape_named("roberta-base", 12), ModelSpec(), 32, 128, "eager")
    trained = ceil(PAPER_LAYER_BYTES * size.trained / reference.trained)
    return LayerBytes(
        weights=size.weights,
        trained=trained,
        frozen=ceil((1 - PAPER_LORA_SHARE) * trained),
        saved=floor(PAPER_SAVING * trained),
        lowest=0,
        lowest_quantized=0,
        per_rank=size.per_rank,
        adapter_per_rank=size.adapter_per_rank,
        b_per_rank=size.b_per_rank,
        traffic=size.traffic,
    )


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
    return seconds


def step_flops(assignment: Assignment, cost: CostModel) -> float:
    """FLOPs of one batch, quantization aside."""
    layer, rank = cost.flops, cost.rank
    ranks = dict(zip(assignment.present, assignment.ranks))
    total = len(ranks) * layer.forward + layer.lora_forward * sum(ranks.values()) / rank
    total += cost.head_forward + cost.head_backward
    if not assignment.trained:
        return total
    lowest = min(assignment.trained)
    above = [r for present, r in ranks.items() if present >= lowest]
    total += len(above) * layer.backward + layer.lora_backward * sum(above) / rank
    gradient = layer.lora_gradient_b if assignment.local.train_b_only else layer.lora_gradient
    total += gradient * sum(ranks[trained] for trained in assignment.trained) / rank
    return total - layer.lowest - layer.lora_lowest * ranks[lowest] / rank


def peak_bytes(assignment: Assignment, cost: CostModel) -> int:
    """Peak bytes of a step: weights, gradients, optimizer state, what autograd keeps, and the largest temporaries."""
    size, ranks = cost.bytes, dict(zip(assignment.present, assignment.ranks))
    total = cost.fixed_bytes + len(ranks) * size.weights + sum(ranks.values()) * size.adapter_per_rank
    if not assignment.trained:
        return total
    lowest, trained = min(assignment.trained), set(assignment.trained)
    total += sum(size.trained + (ranks[one] - cost.rank) * size.per_rank for one in trained)
    total += size.frozen * sum(present > lowest and present not in trained for present in ranks)
    total -= size.saved * len(assignment.quantized)
    return total - (size.lowest_quantized if lowest in assignment.quantized else size.lowest)


def traffic(assignment: Assignment, cost: CostModel) -> tuple[int, int]:
    """Bytes up (what was trained, or a probe's numbers) and down (the present layers), the head both ways."""
    size, ranks = cost.bytes, dict(zip(assignment.present, assignment.ranks))
    down = cost.head_bytes + size.adapter_per_rank * sum(ranks.values())
    if not assignment.steps:
        return 8 * len(assignment.trained), down
    per_rank = size.b_per_rank if assignment.local.train_b_only else size.adapter_per_rank
    return cost.head_bytes + per_rank * sum(ranks[one] for one in assignment.trained), down


def check_profile(profile: Mapping[str, Any] | None, wanted: str) -> Mapping[str, Any]:
    """A profile that `measured` constants can be read from."""
    if profile is None:
        raise SpecError(
            f"{wanted} is 'measured', but no profile was read; cost.profile names the file that `fedquad profile` wrote"
        )
    return profile
