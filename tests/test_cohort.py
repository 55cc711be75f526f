"""Devices that train in one stack: each comes to what it comes to alone, and what befalls one is no other's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import LABELS, a_spec, a_trainee, an_adapter, an_assignment, examples, write_model

from fedquad.errors import DeviceError
from fedquad.learn import cohort, packed, stacked
from fedquad.learn.cohort import Order, train_together
from fedquad.learn.keeps import Keeps, kept
from fedquad.learn.loop import train
from fedquad.learn.model import Trainee, load
from fedquad.learn.practice import of_first
from fedquad.learn.tokens import Encoded
from fedquad.rounds import adapters
from fedquad.spec import TrainingSpec
from fedquad.types import Adapter, Local, Lora, Update

TRAINING = TrainingSpec(batch=5, clip=0.5)
DEPTHS = (3, 1, 0, 2)
OF_ATTENTION = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
TARGETS = (*OF_ATTENTION, "intermediate.dense", "output.dense")  # every product of a layer


def an_order(trainee: Trainee, device: int, depth: int = 3, data: Encoded | None = None, **other: Any) -> Order:
    """A device of so great a depth, with examples of its own, of one length or another."""
    assignment = an_assignment(device=device, trained=tuple(range(3 - depth, 3)), **other)
    data = examples(17, length=8 + device % 5, seed=device) if data is None else data
    wide = replace(data, input_ids=_wide(data.input_ids, 1), attention_mask=_wide(data.attention_mask, 0))
    adapter = an_adapter(trainee.layout)
    return Order(assignment=assignment, adapter=adapter, data=wide, key=(0, 0, 1, device), round=1, based_on="d")


def _wide(array: np.ndarray, fill: int) -> np.ndarray:
    return np.pad(array, ((0, 0), (0, 12 - array.shape[1])), constant_values=fill)


def alone(trainee: Trainee, order: Order, training: TrainingSpec = TRAINING) -> Update:
    o = order
    return train(
        trainee, o.assignment, o.adapter, o.data, training=training, key=o.key, round=o.round, based_on=o.based_on
    )


def check_alike(found: Update, wanted: Update, tolerance: float = 2e-4) -> None:
    """AdamW's first steps are the rate whatever the gradient's size, so that deltas differ by as much of the rate as rounding is of a gradient."""
    assert (found.device, found.round, found.based_on) == (wanted.device, wanted.round, wanted.based_on)
    assert found.report.failure == wanted.report.failure == ""
    assert found.report.loss == pytest.approx(wanted.report.loss, rel=1e-5)
    assert found.report.lora_norm == pytest.approx(wanted.report.lora_norm, rel=1e-4)
    assert (found.report.examples, found.report.tokens) == (wanted.report.examples, wanted.report.tokens)
    assert found.gradient_norms == pytest.approx(wanted.gradient_norms, rel=1e-3)
    ours, theirs = adapters.flatten(found.delta), adapters.flatten(wanted.delta)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], atol=tolerance, err_msg=name)


@pytest.fixture(params=[packed.MODELS, ()], ids=["in one piece", "as modules"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers as a CPU computes them, without their batches' padding, and as a GPU does."""
    monkeypatch.setattr(stacked, "MODELS", request.param)


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("kind", [*packed.MODELS, "llama", "qwen2"])
def test_each_comes_to_what_it_comes_to_alone(kind: str, tmp_path: Path) -> None:
    """Four depths, batches of other lengths, a last batch of two examples."""
    trainee = a_trainee(tmp_path, kind, has_dropout=False)
    orders = [an_order(trainee, device, depth, steps=6) for device, depth in enumerate(DEPTHS)]
    wanted = [alone(trainee, order) for order in orders]
    for found, one in zip(train_together(trainee, orders, TRAINING), wanted, strict=True):
        check_alike(found, one)
    check_alike(alone(trainee, orders[0]), wanted[0], 0.0)  # the model is as it was


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("activation", ["gelu", "gelu_new"])
def test_lora_on_every_product_of_a_layer(activation: str, tmp_path: Path) -> None:
    write_model(tmp_path, hidden_act=activation, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)  # type: ignore[arg-type]
    trainee = load(a_spec(tmp_path, dropout=0.0, targets=TARGETS), LABELS, 4)
    orders = [an_order(trainee, device, depth) for device, depth in enumerate(DEPTHS)]
    for found, order in zip(train_together(trainee, orders, TRAINING), orders, strict=True):
        assert not order.assignment.trained or len(found.delta.layers[2]) == len(TARGETS)
        check_alike(found, alone(trainee, order))


def test_padding_goes_through_no_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainee, seen = a_trainee(tmp_path), set()
    activation = trainee.layers[0].intermediate.intermediate_act_fn  # type: ignore[union-attr]
    gelu = torch.nn.functional.gelu
    monkeypatch.setattr(torch.nn.functional, "gelu", lambda x: seen.add(len(x)) or gelu(x))  # type: ignore[func-returns-value]
    train_together(trainee, [an_order(trainee, device) for device in (0, 1)], TRAINING)
    assert type(activation).__name__ == "GELUActivation"
    assert min(seen) == 2 * 5  # the last layer's first tokens
    assert all(
        2 * 5 * 5 < rows < 2 * 5 * 9 for rows in seen - {2 * 5}
    )  # of two devices' five examples of 5 to 9 tokens


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("targets", [(), TARGETS])
def test_dropout_is_drawn_from_each_devices_own_stream(
    targets: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LoRA's, the layers' and the attention's: a device alone that drops what its stream says comes to the same."""
    trainee = a_trainee(tmp_path, attention="eager", targets=targets)
    orders = [an_order(trainee, device, depth) for device, depth in enumerate(DEPTHS)]
    together = train_together(trainee, orders, TRAINING)
    model: Any = trainee.model
    seen: dict[str, Any] = {}  # the batch's mask, and whether a layer is asked that draws for tokens alone

    def begins(_: object, __: object, inputs: dict[str, torch.Tensor]) -> None:
        seen.update({"mask": inputs["attention_mask"].numpy() == 1, "is inside": False})

    def enters(*_: object) -> None:
        seen["is inside"] = bool(stacked.MODELS)

    def leaves(*_: object) -> None:
        seen["is inside"] = False

    hooks = [
        model.register_forward_pre_hook(begins, with_kwargs=True),
        trainee.layers[0].register_forward_pre_hook(enters),
        trainee.layers[-1].register_forward_hook(leaves),
    ]
    for order, found in zip(orders, together, strict=True):
        keeps = Keeps(order.key)

        def dropped(x: torch.Tensor, p: float, training: bool, inplace: bool = False, keeps: Keeps = keeps) -> Any:
            assert training
            if not p:
                return x
            drawn = np.ones(x.shape, np.bool_)
            own = seen["mask"] if seen["is inside"] and x.shape[:2] == seen["mask"].shape else slice(None)
            drawn[own] = keeps.draw(drawn[own].shape, p)
            return x * torch.from_numpy(drawn) / kept(p)

        with monkeypatch.context() as patched:
            patched.setattr(torch.nn.functional, "dropout", dropped)
            last: Any = trainee.layers[-1]
            patched.setattr(last, "feed_forward_chunk", of_first(last.feed_forward_chunk))  # so that it draws as much
            check_alike(found, alone(trainee, order))
    for hook in hooks:
        hook.remove()
    still = [alone(trainee, order).report.loss for order in orders]
    assert all(found.report.loss != loss for found, loss in zip(together, still, strict=True))


def test_a_stack_of_one_and_of_all_and_the_order_they_are_named_in(tmp_path: Path) -> None:
    """Dropout is on: what a device drops does not depend on who is beside it."""
    trainee = a_trainee(tmp_path)
    orders = [an_order(trainee, device, depth) for device, depth in enumerate(DEPTHS)]
    together = train_together(trainee, orders, TRAINING)
    for found, order in zip(together, orders, strict=True):
        check_alike(found, train_together(trainee, [order], TRAINING)[0])
    again = train_together(trainee, orders[::-1], TRAINING)[::-1]
    assert [adapters.digest(u.delta) for u in again] == [adapters.digest(u.delta) for u in together]


def test_keeps_are_the_share_that_they_say() -> None:
    drawn = Keeps((1,)).draw((101, 99, 7), 0.1)
    assert drawn.mean() == pytest.approx(kept(0.1), abs=5e-3)
    assert kept(0.1) == pytest.approx(0.9, abs=1e-5)
    assert not np.array_equal(drawn, Keeps((2,)).draw((101, 99, 7), 0.1))
    assert not Keeps((1,)).draw((10_000,), 0.99999).all()


@pytest.mark.usefixtures("pieces")
def test_layers_that_only_some_have_and_ranks_that_are_not_the_campaigns(tmp_path: Path) -> None:
    """Present layers 0 and 2 of 3, of which 0 is trained and 2 runs as it was sent; rank 2 of 4."""
    trainee = a_trainee(tmp_path, has_dropout=False)
    for told in (
        {"present": (0, 2), "trained": (0,), "ranks": (2, 2)},
        {"present": (0, 1, 2), "trained": (0, 2), "ranks": (3, 3, 3)},
    ):
        orders = [an_order(trainee, device) for device in range(3)]
        orders = [replace(o, assignment=replace(o.assignment, **told)) for o in orders]
        for found, order in zip(train_together(trainee, orders, TRAINING), orders, strict=True):
            check_alike(found, alone(trainee, order))


def test_unequal_ranks_the_penalty_on_their_tails_and_pruning(tmp_path: Path) -> None:
    """Four ranks at four depths: a weak penalty, one on all of a rank of 1, one so strong that the rank is pruned, and none."""
    trainee = a_trainee(tmp_path, has_dropout=False)
    orders = []
    for device, (depth, rank, penalty) in enumerate(((3, 4, 1e-3), (2, 1, 1e-2), (3, 3, 5.0), (1, 2, 0.0))):
        local = Local(tail_penalty=penalty, tail_keep=0.7)
        order = an_order(trainee, device, depth, steps=6, ranks=(rank,) * 3, local=local)
        least = (1,) * 3 if penalty else ()
        orders.append(replace(order, assignment=replace(order.assignment, least_ranks=least)))
    wanted = [alone(trainee, order) for order in orders]
    for found, one in zip(train_together(trainee, orders, TRAINING), wanted, strict=True):
        check_alike(found, one)
    kept = [update.delta.layers[2]["attention.self.query"].a.shape[0] for update in wanted]
    assert kept[1:] == [1, 2, 2]
    plain = [replace(order, assignment=replace(order.assignment, local=Local())) for order in orders]
    for order, found, free in zip(orders, wanted, train_together(trainee, plain, TRAINING)):
        is_alike = found.report.lora_norm == pytest.approx(free.report.lora_norm, rel=1e-5)
        assert is_alike != bool(order.assignment.local.tail_penalty)


@pytest.mark.parametrize("objective", ["token_classification", "regression", "causal_lm"])
def test_every_objective_has_its_loss_for_each(objective: str, tmp_path: Path) -> None:
    is_causal = objective == "causal_lm"
    none = {} if is_causal else {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    write_model(tmp_path, "llama" if is_causal else "roberta", causal=is_causal, **none)
    trainee = load(a_spec(tmp_path, dropout=0.0), 1 if objective == "regression" else LABELS, 4, objective)
    orders = []
    for device, depth in enumerate((3, 1, 2)):
        order = an_order(trainee, device, depth)
        ids, mask = order.data.input_ids.astype(np.int64), order.data.attention_mask == 1
        labels = {
            "regression": (order.data.labels / LABELS).astype(np.float32),
            "token_classification": np.where(mask, ids % LABELS, -100),
            "causal_lm": np.where(mask & (np.arange(12) > 2), ids, -100),
        }[objective]
        orders.append(replace(order, data=replace(order.data, labels=labels)))
    for found, order in zip(train_together(trainee, orders, TRAINING), orders, strict=True):
        check_alike(found, alone(trainee, order), 2e-3)


def test_what_befalls_one_is_no_others(tmp_path: Path) -> None:
    """One has no examples, one gets infinite weights, one's loss is not a number."""
    trainee = a_trainee(tmp_path, has_dropout=False)
    right = [an_order(trainee, device) for device in (0, 1)]
    empty = an_order(trainee, 2, data=examples().rows(np.array([], np.int64)))
    sent = an_adapter(trainee.layout)
    pairs = {t: Lora(np.full_like(p.a, np.inf), p.b) for t, p in sent.layers[1].items()}
    broken = replace(an_order(trainee, 3), adapter=Adapter(layers={**sent.layers, 1: pairs}, head=sent.head))
    first, without, nan, second = train_together(trainee, [right[0], empty, broken, right[1]], TRAINING)
    assert without.report.failure == "device 2: it has no examples"
    assert "device 3: the loss is nan at step 1 of 3" in nan.report.failure
    assert not nan.delta.layers
    for found, wanted in zip((first, second), train_together(trainee, right, TRAINING), strict=True):
        check_alike(found, wanted)
    (lost,) = train_together(trainee, [empty], TRAINING)
    assert lost.report.failure == without.report.failure


def test_weights_that_are_not_finite_are_one_devices_failure(tmp_path: Path) -> None:
    trainee = a_trainee(tmp_path, has_dropout=False)
    orders = [an_order(trainee, device, steps=1, learning_rate=1e39) for device in (0, 1)]
    fresh = adapters.initial(trainee.layout, 4, 0)  # B is zero: A gets no gradient, and stays finite
    for update in train_together(trainee, [replace(order, adapter=fresh) for order in orders], TRAINING):
        assert "its weights are not finite after 1 steps" in update.report.failure


def test_a_stack_without_memory_is_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainee = a_trainee(tmp_path, has_dropout=False)
    orders = [an_order(trainee, device) for device in (0, 1)]
    wanted = [alone(trainee, order) for order in orders]

    def fail(*_: object) -> None:
        raise MemoryError("no room for all of them")

    monkeypatch.setattr(cohort, "_learn", fail)
    for found, one in zip(train_together(trainee, orders, TRAINING), wanted, strict=True):
        check_alike(found, one, 0.0)


def test_other_errors_are_not_hidden_and_leave_the_model_as_it_was(tmp_path: Path) -> None:
    trainee = a_trainee(tmp_path, has_dropout=False)
    order = an_order(trainee, 0)
    before, label = alone(trainee, order), replace(order.data, labels=order.data.labels + 100)
    with pytest.raises((RuntimeError, IndexError)):
        train_together(trainee, [replace(order, data=label)], TRAINING)
    check_alike(alone(trainee, order), before, 0.0)


def test_an_assignment_that_the_model_cannot_carry_out_is_refused(tmp_path: Path) -> None:
    trainee = a_trainee(tmp_path, has_dropout=False)
    order = an_order(trainee, 4)
    lacking = Adapter(layers={0: order.adapter.layers[0]}, head=order.adapter.head)
    with pytest.raises(DeviceError, match="device 4 was assigned to train layer 1"):
        train_together(trainee, [an_order(trainee, 3), replace(order, adapter=lacking)], TRAINING)


@pytest.mark.usefixtures("pieces")
def test_bf16_learns_in_float32_beside_others_too(tmp_path: Path) -> None:
    trainee = a_trainee(tmp_path, has_dropout=False, precision="bf16")
    orders = [an_order(trainee, device, steps=10, learning_rate=1e-4) for device in (0, 1)]
    for found in train_together(trainee, orders, TRAINING):
        moved = found.delta.layers[1]["attention.self.query"].a
        assert np.abs(moved).max() < 1.1e-3
        assert len(np.unique(moved)) > 0.9 * moved.size
