"""One cost model for every method: what must hold of an estimate, and the paper's own figures."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedquad.errors import SpecError, UnknownNameError
from fedquad.prices.cost import Constants, CostModel, cost_model, estimate
from fedquad.prices.shapes import SHAPES
from fedquad.rounds import acs
from fedquad.spec import CostSpec, ModelSpec, TrainingSpec
from fedquad.types import Assignment, CostEstimate, Local, ModelShape, Status, Statuses

STATUS = Status(
    device=0,
    device_class="weak",
    board="jetson-tx2",
    mode="MAXN",
    available=True,
    memory_bytes=4 * 10**9,
    flops=1e12,
    memory_bandwidth=5e10,
    upload_bandwidth=1e6,
    download_bandwidth=4e6,
    training_watts=12.0,
    idle_watts=3.0,
    radio_watts=4.0,
)
MODELS = {
    f"{name}-{attention}-{precision}-{memory}-{quantization}": (name, attention, precision, memory, quantization)
    for name, attention, precision, memory, quantization in [
        ("roberta-large", "eager", "fp32", "analytic", "paper"),
        ("roberta-base", "sdpa", "bf16", "analytic", "roofline"),
        ("deberta-v3-base", "eager", "fp32", "analytic", "paper"),
        ("bert-large", "eager", "fp32", "paper", "paper"),
        ("bert-large", "sdpa", "fp32", "analytic", "paper"),
    ]
}
MODELS |= {f"{name}-covered-as-in-the-paper": (*case, "paper") for name, case in list(MODELS.items())}


def priced(
    name: str = "roberta-large",
    attention: str = "eager",
    precision: str = "fp32",
    memory: str = "analytic",
    quantization: str = "paper",
    coverage: str = "full",
) -> CostModel:
    model = ModelSpec(attention=attention, precision=precision, coverage=coverage)  # type: ignore[arg-type]
    cost = CostSpec(sequence=128, memory=memory, quantization=quantization)  # type: ignore[arg-type]
    return cost_model(SHAPES[name], model, TrainingSpec(batch=32), cost, labels=3)


def assign(
    cost: CostModel,
    trained: tuple[int, ...],
    quantized: tuple[int, ...] = (),
    present: tuple[int, ...] | None = None,
    rank: int = 8,
    steps: int = 1,
    local: Local | None = None,
) -> Assignment:
    there = tuple(range(cost.layers)) if present is None else present
    return Assignment(
        device=0,
        present=there,
        trained=trained,
        quantized=quantized,
        ranks=(rank,) * len(there),
        steps=steps,
        learning_rate=1.0,
        local=local or Local(),
    )


def top(cost: CostModel, depth: int, quantized: int = 0) -> CostEstimate:
    lowest = cost.layers - depth
    return estimate(
        assign(cost, tuple(range(lowest, cost.layers)), tuple(range(lowest, lowest + quantized))), cost, STATUS
    )


@pytest.mark.parametrize("case", MODELS)
def test_the_estimate_of_d_and_a_is_the_papers_equations(case: str) -> None:
    cost = priced(*MODELS[case])
    k = cost.constants
    quantize = k.c_a / STATUS.flops
    if cost.quantization == "roofline":
        quantize = cost.bytes.traffic / (0.7 * STATUS.memory_bandwidth)
    for depth in range(1, cost.layers + 1):
        for quantized in {0, depth // 2, depth - 1}:
            estimated = top(cost, depth, quantized)
            seconds = (k.c_f + k.c_d * depth) / STATUS.flops + quantized * quantize
            assert estimated.compute_seconds == pytest.approx(seconds, rel=1e-12)
            assert estimated.peak_bytes <= k.m_f + k.m_o * depth - k.m_q * quantized  # Eq. 11 never lies below


@pytest.mark.parametrize("case", MODELS)
def test_head_only_fits_whenever_the_constants_say_so(case: str) -> None:
    cost = priced(*MODELS[case])
    head = estimate(assign(cost, ()), cost, STATUS)
    assert head.peak_bytes <= cost.constants.m_f
    assert head.compute_seconds < top(cost, 1).compute_seconds


def test_acs_sees_the_seconds_that_the_estimate_charges() -> None:
    for case in MODELS.values():
        cost = priced(*case)
        statuses = Statuses(
            classes=("weak",),
            boards=("jetson-tx2",),
            modes=(("MAXN",),),
            class_of=np.zeros(1, dtype=np.int16),
            board_of=np.zeros(1, dtype=np.int16),
            mode_of=np.zeros(1, dtype=np.int16),
            available=np.ones(1, dtype=np.bool_),
            memory_bytes=np.array([STATUS.memory_bytes]),
            flops=np.array([STATUS.flops]),
            memory_bandwidth=np.array([STATUS.memory_bandwidth]),
            upload_bandwidth=np.array([STATUS.upload_bandwidth]),
            download_bandwidth=np.array([STATUS.download_bandwidth]),
            training_watts=np.array([12.0]),
            idle_watts=np.array([3.0]),
            radio_watts=np.array([4.0]),
        )
        devices = acs.describe(cost, statuses, np.array([7]))
        for depth, quantized in ((1, 0), (6, 3), (12, 11)):
            lowest = cost.layers - depth
            assignment = assign(
                cost, tuple(range(lowest, cost.layers)), tuple(range(lowest, lowest + quantized)), steps=7
            )
            expected = estimate(assignment, cost, STATUS).seconds
            assert devices.seconds(depth, np.array([quantized]))[0] == pytest.approx(expected, rel=1e-12)


def test_layer_bytes_of_roberta_base_are_the_papers_199_within_half_a_percent() -> None:
    cost = priced("roberta-base")
    activations = cost.bytes.trained - 8 * (cost.bytes.trained_per_rank - 2 * 4 * 32 * 128)
    assert activations / 2**20 == pytest.approx(198.3, abs=0.1)
    assert cost.bytes.saved / activations == pytest.approx(0.760, abs=0.001)
    as_theirs = priced("roberta-base", coverage="paper")
    assert as_theirs.bytes.trained == cost.bytes.trained
    assert as_theirs.bytes.saved / activations == pytest.approx(0.589, abs=0.001)  # the paper: 58 %
    paper = priced("roberta-base", memory="paper")
    assert paper.constants.m_o == 199 * 2**20
    assert paper.constants.m_q / paper.constants.m_o == pytest.approx(0.58)


def test_activations_of_roberta_large_at_256_are_the_papers_share_of_memory() -> None:
    """The paper: 15.9 GB of 17.4 at batch 32, 91.5 %; 85.1 % at batch 16. Its GB are GiB."""
    for batch, share in ((32, 0.915), (16, 0.851)):
        cost = cost_model(
            SHAPES["roberta-large"],
            ModelSpec(attention="eager"),
            TrainingSpec(batch=batch),
            CostSpec(sequence=256),
            labels=3,
        )
        activations = 24 * cost.bytes.frozen + 24 * cost.bytes.inputs
        assert activations / top(cost, 24).peak_bytes == pytest.approx(share, abs=0.02)
        if batch == 32:
            assert activations / 2**30 == pytest.approx(15.76, abs=0.02)


def test_lora_spares_a_third_of_a_full_step_as_on_the_papers_a6000() -> None:
    """699 against 1002 ms: 30.2 % less, and 14.7 and 15.4 TFLOP/s, 0.38 and 0.40 of the A6000's peak."""
    cost = cost_model(SHAPES["roberta-large"], ModelSpec(), TrainingSpec(batch=32), CostSpec(sequence=256), labels=3)
    lora, full = top(cost, 24).compute_seconds, 3 * cost.layers * cost.flops.forward / STATUS.flops
    assert lora / full == pytest.approx(699 / 1002, abs=0.03)
    assert lora * STATUS.flops / 0.699 / 38.7e12 == pytest.approx(0.39, abs=0.01)


layers_of_24 = st.sets(st.integers(0, 23), min_size=1).map(lambda chosen: tuple(sorted(chosen)))


@settings(max_examples=100, deadline=None)
@given(layers_of_24, st.integers(0, 23), st.integers(1, 16), st.integers(1, 50))
def test_more_of_anything_costs_no_less(trained: tuple[int, ...], extra: int, rank: int, steps: int) -> None:
    cost = priced()
    base = estimate(assign(cost, trained, rank=rank, steps=steps), cost, STATUS)
    for more in (
        assign(cost, tuple(sorted({*trained, extra})), rank=rank, steps=steps),
        assign(cost, trained, rank=rank + 1, steps=steps),
        assign(cost, trained, rank=rank, steps=steps + 1),
    ):
        estimated = estimate(more, cost, STATUS)
        for key in ("compute_seconds", "peak_bytes", "upload_bytes", "download_bytes", "joules"):
            assert getattr(estimated, key) >= getattr(base, key)


@settings(max_examples=100, deadline=None)
@given(layers_of_24, st.data())
def test_quantizing_more_layers_never_raises_memory_nor_lowers_time(
    trained: tuple[int, ...], data: st.DataObject
) -> None:
    cost = priced()
    some = data.draw(st.sets(st.sampled_from(trained)))
    more = some | data.draw(st.sets(st.sampled_from(trained)))
    few, many = (estimate(assign(cost, trained, tuple(sorted(q))), cost, STATUS) for q in (some, more))
    assert many.peak_bytes <= few.peak_bytes
    assert many.compute_seconds >= few.compute_seconds


def test_a_sub_model_pays_for_the_layers_it_has() -> None:
    cost = priced()
    third = estimate(assign(cost, tuple(range(8)), present=tuple(range(8))), cost, STATUS)
    whole = estimate(assign(cost, tuple(range(24))), cost, STATUS)
    assert whole.compute_seconds / third.compute_seconds == pytest.approx(3, rel=0.02)
    assert whole.peak_bytes - third.peak_bytes == 16 * (
        cost.bytes.weights + cost.bytes.trained + 8 * cost.bytes.lora_per_rank
    )
    scattered = estimate(assign(cost, (0, 5, 23), present=(0, 5, 23)), cost, STATUS)
    bottom = estimate(assign(cost, (0, 1, 2), present=(0, 1, 2)), cost, STATUS)
    assert scattered == bottom


def test_one_layer_at_the_bottom_costs_nearly_what_all_layers_do() -> None:
    """Figure 2: the four shallow layers take 93 % of the memory of all twelve; layers 4-7 69.9 %, 8-11 46.5 %."""
    cost = priced("roberta-base", memory="paper")
    whole = top(cost, 12).peak_bytes
    shares = [estimate(assign(cost, tuple(range(low, low + 4))), cost, STATUS).peak_bytes / whole for low in (0, 4, 8)]
    assert shares == pytest.approx([0.93, 0.699, 0.465], abs=0.02)


def test_a_lower_rank_saves_little_but_traffic() -> None:
    cost = priced()
    full, small = (estimate(assign(cost, tuple(range(24)), rank=r), cost, STATUS) for r in (8, 2))
    assert small.upload_bytes - cost.head_bytes == (full.upload_bytes - cost.head_bytes) / 4
    assert small.compute_seconds > 0.95 * full.compute_seconds
    assert small.peak_bytes > 0.95 * full.peak_bytes


def test_a_probe_pays_for_its_batches_and_sends_numbers() -> None:
    cost = priced()
    probe = assign(cost, tuple(range(24)), steps=0, local=Local(probe_batches=5))
    five = assign(cost, tuple(range(24)), steps=5)
    assert estimate(probe, cost, STATUS).compute_seconds == estimate(five, cost, STATUS).compute_seconds
    assert estimate(probe, cost, STATUS).upload_bytes == 24 * 8


def test_traffic_is_the_adapter_and_the_head_at_float32() -> None:
    """LoRA r8 on query and value of h=1024: 131,072 bytes a layer; RoBERTa's head 4.21 MB (devices: section 5)."""
    cost = priced()
    estimated = top(cost, 10)
    assert estimated.upload_bytes == 10 * 131_072 + cost.head_bytes
    assert estimated.download_bytes == 24 * 131_072 + cost.head_bytes
    assert cost.head_bytes == pytest.approx(4.21e6, rel=0.001)
    seconds = estimated.upload_bytes / 1e6 + estimated.download_bytes / 4e6
    assert estimated.communication_seconds == pytest.approx(seconds)
    assert estimated.joules == pytest.approx(estimated.compute_seconds * 12 + seconds * 7)


def test_bf16_halves_weights_and_activations_but_not_what_is_sent() -> None:
    full, half = priced(), priced(precision="bf16")
    assert half.bytes.weights * 2 == full.bytes.weights
    assert 0.5 < half.bytes.trained / full.bytes.trained < 0.6  # masks stay one byte
    assert half.head_bytes == full.head_bytes


def test_a_model_is_priced_as_another_with_as_many_layers() -> None:
    mini = replace(SHAPES["roberta-base"], name="mini", hidden=64, intermediate=256, heads=4, vocabulary=1000)
    model, training = ModelSpec(), TrainingSpec(batch=8)
    as_base = cost_model(mini, model, training, CostSpec(priced_as="roberta-base"), labels=3)
    base = cost_model(SHAPES["roberta-base"], model, TrainingSpec(batch=32), CostSpec(sequence=128), labels=3)
    assert as_base == base
    with pytest.raises(SpecError, match=r"cost\.priced_as is 'roberta-large' with 24 layers.*roberta-base"):
        cost_model(mini, model, training, CostSpec(priced_as="roberta-large"), labels=3)
    with pytest.raises(UnknownNameError, match=r"cost\.priced_as.*'gpt-9'"):
        cost_model(mini, model, training, CostSpec(priced_as="gpt-9"), labels=3)


def test_a_target_that_no_layer_has_is_refused() -> None:
    with pytest.raises(SpecError, match=r"model\.targets holds 'q_proj'.*attention\.self\.query"):
        cost_model(SHAPES["roberta-base"], ModelSpec(targets=("q_proj",)), TrainingSpec(), CostSpec(), labels=3)


def test_roofline_quantization_is_far_cheaper_than_the_papers() -> None:
    """devices: section 3b. On a TX2 moving the bytes takes 0.03 of c_d, the paper charges 0.75."""
    shape: ModelShape = SHAPES["roberta-large"]
    tx2 = replace(STATUS, flops=0.333e12, memory_bandwidth=59.7e9)
    specs = [CostSpec(sequence=128, quantization="paper"), CostSpec(sequence=128, quantization="roofline")]
    costs = [cost_model(shape, ModelSpec(), TrainingSpec(batch=32), spec, labels=3) for spec in specs]
    extra = []
    for cost in costs:
        plain, quantized = assign(cost, (22, 23)), assign(cost, (22, 23), (22,))
        extra.append(estimate(quantized, cost, tx2).seconds - estimate(plain, cost, tx2).seconds)
    k: Constants = costs[0].constants
    assert extra[0] == pytest.approx(0.75 * k.c_d / tx2.flops)
    assert 0.02 < extra[1] / (k.c_d / tx2.flops) < 0.08


def test_int8_spares_more_at_a_greater_rank() -> None:
    cost = priced(attention="sdpa")
    layers = tuple(range(20, 24))

    def spared(rank: int) -> int:
        plain, int8 = (estimate(assign(cost, layers, q, rank=rank), cost, STATUS).peak_bytes for q in ((), layers[1:]))
        return plain - int8

    assert cost.bytes.saved_per_rank > 0
    assert spared(16) - spared(8) == 3 * 8 * cost.bytes.saved_per_rank
