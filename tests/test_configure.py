"""Any assignment to any other equals a fresh model in it; what is absent is skipped, what is frozen keeps nothing."""

from itertools import combinations

import pytest
import torch
from tiny import KINDS, LABELS, a_spec, a_trainee, an_adapter, an_assignment, batch_of, examples, write_model

from fedquad.errors import DeviceError
from fedquad.learn.configure import configure
from fedquad.learn.evaluate import evaluate
from fedquad.learn.model import load
from fedquad.learn.seeding import seeded
from fedquad.types import Adapter


def signature(trainee, assignment, adapter, data):
    """All that training can see: logits, and the gradients by name."""
    with configure(trainee, assignment, adapter), seeded("signature"):
        trainee.model.train()
        logits = trainee.model(**batch_of(trainee, data)).logits
        logits.square().sum().backward()
        found = {name: p.grad for name, p in trainee.model.named_parameters() if p.grad is not None}
        learning = [name for name, p in trainee.model.named_parameters() if p.requires_grad]
    result = {"logits": logits.detach(), **{name: grad.clone() for name, grad in found.items()}}
    trainee.model.zero_grad(set_to_none=True)
    return learning, result


def subsets(items):
    return [tuple(chosen) for size in range(len(items) + 1) for chosen in combinations(items, size)]


def all_assignments(layers):
    """Every choice of present and trained layers, with ranks that vary along."""
    chosen = [(present, trained) for present in subsets(range(layers)) if present for trained in subsets(present)]
    return [
        an_assignment(
            present=present,
            trained=trained,
            ranks=tuple(1 + (i + layer) % 4 for layer in present),
        )
        for i, (present, trained) in enumerate(chosen)
    ]


def all_quantized(layers):
    """Every choice of present, trained and INT8 layers."""
    chosen = [(p, t, q) for p in subsets(range(layers)) if p for t in subsets(p) for q in subsets(t)]
    return [an_assignment(present=p, trained=t, quantized=q) for p, t, q in chosen]


@pytest.mark.parametrize(
    ("assignments", "sizes"),
    [(all_assignments(3), {"layers": 3}), (all_quantized(2), {"layers": 2, "hidden": 32})],
    ids=["layers and ranks", "INT8"],
)
def test_reconfiguring_from_any_assignment_to_any_other_equals_a_fresh_model(assignments, sizes, tmp_path):
    spec = a_spec(write_model(tmp_path, **sizes))
    data = examples(2, 6) if "hidden" not in sizes else examples(16)  # small tensors are never compressed
    trainee = load(spec, LABELS, 4)
    adapter = an_adapter(trainee.layout)
    fresh = [signature(load(spec, LABELS, 4), assignment, adapter, data) for assignment in assignments]
    for before in assignments:
        for after, (learning, expected) in zip(assignments, fresh):
            with configure(trainee, before, an_adapter(trainee.layout, seed=1)):
                pass
            now_learning, found = signature(trainee, after, adapter, data)
            assert now_learning == learning
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_runs_a_part_of_its_layers_forward_and_backward(kind, tmp_path):
    trainee = a_trainee(tmp_path, kind)
    adapter = an_adapter(trainee.layout)
    ran = []
    for index, layer in enumerate(trainee.layers):
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
    learning, found = signature(trainee, an_assignment(present=(0, 2), trained=(2,)), adapter, examples(3, 8))
    assert ran == [0, 2]
    assert {name.split(".lora_")[0] for name in learning if "lora_" in name} == {
        f"{trainee.layout.layer_path}.1.{target}" for target in trainee.layout.targets
    }  # layer 2 is the second of those that are there
    assert len(found) == 1 + 2 * len(trainee.layout.targets) + len(trainee.layout.head)


def saved_bytes(trainee, assignment, data):
    sizes = []

    def count(tensor):
        sizes.append(0 if isinstance(tensor, torch.nn.Parameter) else tensor.nbytes)
        return tensor

    with configure(trainee, assignment, an_adapter(trainee.layout)), seeded("saved"):
        trainee.model.train()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            trainee.model(**batch_of(trainee, data)).logits.sum()
    return sum(sizes)


def test_layers_below_the_lowest_trained_one_keep_nothing_for_the_backward_pass(tmp_path):
    shallow, deep = a_trainee(tmp_path / "a", layers=2), a_trainee(tmp_path / "b", layers=5)
    data = examples(4)
    one = saved_bytes(shallow, an_assignment(2, trained=(1,)), data)
    assert saved_bytes(deep, an_assignment(5, trained=(4,)), data) == one
    assert saved_bytes(deep, an_assignment(5, trained=(3, 4)), data) > one
    assert saved_bytes(deep, an_assignment(5, trained=()), data) < one


def test_bf16_keeps_half_the_bytes_and_no_cast_copies_of_the_weights(tmp_path):
    data = examples(4)
    full, half = (a_trainee(tmp_path, attention="eager", precision=one) for one in ("fp32", "bf16"))
    masks = saved_bytes(full, an_assignment(), data) * 0.1  # dropout's masks stay as they are
    assert saved_bytes(half, an_assignment(), data) <= saved_bytes(full, an_assignment(), data) / 2 + masks


def test_a_layer_without_lora_in_the_adapter_runs_without(tmp_path):
    trainee = a_trainee(tmp_path)
    adapter, data = an_adapter(trainee.layout), examples(4)
    part = Adapter(layers={2: adapter.layers[2]}, head=adapter.head)
    zero = {layer: {t: type(p)(p.a, 0 * p.b) for t, p in adapter.layers[layer].items()} for layer in (0, 1)}
    full = Adapter(layers={**zero, 2: adapter.layers[2]}, head=adapter.head)
    evaluate(trainee, adapter, data, 0, 4, 4)
    assert evaluate(trainee, part, data, 0, 4, 4).sums["loss"] == evaluate(trainee, full, data, 0, 4, 4).sums["loss"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"present": (0, 3), "trained": ()},
        {"present": (0, 1), "trained": (2,)},
        {"present": (1, 0), "trained": ()},
        {"present": (0, 1), "trained": (), "quantized": (2,)},
        {"present": (), "trained": ()},
        {"ranks": (4, 4)},
    ],
)
def test_an_assignment_that_the_model_cannot_take_is_refused(wrong, tmp_path):
    trainee = a_trainee(tmp_path)
    with (
        pytest.raises(DeviceError, match="device 2"),
        configure(trainee, an_assignment(**wrong), an_adapter(trainee.layout)),
    ):
        pass


def test_training_a_layer_that_was_not_sent_is_refused(tmp_path):
    trainee = a_trainee(tmp_path)
    adapter = an_adapter(trainee.layout)
    part = Adapter(layers={2: adapter.layers[2]}, head=adapter.head)
    with pytest.raises(DeviceError, match=r"train layer 1 at rank 4, but the adapter sent has layers \[2\]"):
        configure(trainee, an_assignment(trained=(1,)), part).__enter__()
    with pytest.raises(DeviceError, match="train layer 1 at rank 0"):
        configure(trainee, an_assignment(trained=(1,), ranks=(4, 0, 4)), adapter).__enter__()


def test_a_rank_above_the_adapter_that_was_sent_is_refused(tmp_path):
    trainee = a_trainee(tmp_path)
    with (
        pytest.raises(DeviceError, match="rank 8 was assigned, but the adapter sent has rank 4"),
        configure(trainee, an_assignment(ranks=(8, 8, 8)), an_adapter(trainee.layout)),
    ):
        pass
