"""The frozen prefix: the same bits whatever was kept, the same values as without it up to the codes, priced by what is kept."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from fleet_of_three import answer
from pretend import METHODS, begin, everyone, fleet, plan, run
from tiny import KINDS, a_trainee, an_adapter, an_assignment, examples

from fedquad.discover import strategy
from fedquad.errors import SpecError
from fedquad.learn.configure import configure
from fedquad.learn.drift import drift
from fedquad.learn.evaluate import evaluate
from fedquad.learn.loop import train
from fedquad.learn.prefix import Prefixes
from fedquad.learn.prefix_files import PrefixFiles
from fedquad.objective import Counts
from fedquad.prices import cost
from fedquad.rounds import acs, adapters, facts, prefix
from fedquad.rounds.round import finish_round
from fedquad.spec import CampaignSpec, DataSpec, FleetSpec, TrainingSpec
from fedquad.types import Adapter, Assignment, Update

STALE = TrainingSpec(prefix="stale", prefix_rounds=3, steps=3, batch=8)
TRAINING = TrainingSpec(steps=4, batch=8, learning_rate=1e-2)


def upper(layers: int = 3, below: int = 2, **more: object) -> Assignment:
    return an_assignment(layers, trained=tuple(range(below, layers)), prefix=below, steps=6, **more)


def trained(trainee, assignment, prefixes, data=None) -> Update:
    return train(
        trainee,
        assignment,
        an_adapter(trainee.layout),
        examples() if data is None else data,
        training=TRAINING,
        key=(1, 0, 2, 3),
        round=2,
        based_on="x",
        prefixes=prefixes,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_kept_never_changes_a_bit(kind, tmp_path) -> None:
    trainee, kept = a_trainee(tmp_path, kind), Prefixes(1 << 20)
    cold, warm, lost = (
        trained(trainee, upper(), kept),
        trained(trainee, upper(), kept),
        trained(trainee, upper(), None),
    )
    assert not cold.report.failure
    assert [(one.report.hits, one.report.misses) for one in (cold, warm, lost)] == [(20, 20), (40, 0), (0, 40)]
    assert (kept.misses, kept.hits) == (20, 2 * 40 - 20)  # two rounds of six batches, twice 40 reads of 20 examples
    assert adapters.digest(cold.delta) == adapters.digest(warm.delta) == adapters.digest(lost.delta)


@pytest.mark.parametrize("kind", KINDS)
def test_without_codes_it_is_the_same_prefix_computed_each_time(kind, tmp_path) -> None:
    trainee = a_trainee(tmp_path, kind, has_dropout=False)
    kept, again = Prefixes(1 << 20, is_coded=False), Prefixes(0, is_coded=False)
    exact = [trained(trainee, upper(), held) for held in (kept, again)]
    assert kept.hits == 20
    assert again.hits == 0
    assert len({adapters.digest(one.delta) for one in exact}) == 1
    whole = trained(trainee, replace(upper(), prefix=0), None)
    coded = trained(trainee, upper(), Prefixes(1 << 20))
    assert apart(exact[0], whole) < 2e-3  # examples alone instead of in a padded batch
    assert apart(coded, whole) < 0.2


def apart(one: Update, other: Update) -> float:
    """How far two updates lie from each other, relative to the second."""
    here, there = adapters.flatten(one.delta), adapters.flatten(other.delta)
    assert set(here) == set(there)
    off = sum(float(np.square(here[name] - there[name]).sum()) for name in there)
    return float(np.sqrt(off / sum(float(np.square(value).sum()) for value in there.values())))


def test_int8_layers_and_sub_models_work_above_a_prefix(tmp_path) -> None:
    trainee, kept = a_trainee(tmp_path, layers=4), Prefixes(1 << 20)
    given = an_assignment(4, present=(0, 1, 3), trained=(3,), quantized=(3,), prefix=2, steps=3)
    first, second = (trained(trainee, given, kept) for _ in range(2))
    assert not first.report.failure
    assert set(first.delta.layers) == {3}
    assert adapters.digest(first.delta) == adapters.digest(second.delta)
    other = trained(trainee, replace(given, present=(0, 2, 3)), kept)
    assert adapters.digest(other.delta) != adapters.digest(first.delta)


def test_the_head_alone_trains_on_the_whole_model_as_prefix(tmp_path) -> None:
    given = an_assignment(trained=(), prefix=3)
    update = trained(a_trainee(tmp_path), given, None)
    assert not update.report.failure
    assert not update.delta.layers


def test_another_adapter_below_is_another_prefix(tmp_path) -> None:
    trainee, kept = a_trainee(tmp_path), Prefixes(1 << 20)
    data = examples()
    for seed in (0, 1):
        adapter = an_adapter(trainee.layout, seed=seed)
        with configure(trainee, upper(), adapter), kept.entered(trainee, (0, 1, 2), 2, adapter, data) as batches:
            batches.at(np.arange(4), 12)
    assert (kept.hits, kept.misses) == (0, 8)


def test_layers_that_nobody_has_trained_are_the_same_prefix_for_all_seeds(tmp_path) -> None:
    trainee, kept = a_trainee(tmp_path), Prefixes(1 << 20)
    for seed in (0, 1):
        adapter = adapters.initial(trainee.layout, 4, seed)
        with configure(trainee, upper(), adapter), kept.entered(trainee, (0, 1, 2), 2, adapter, examples()) as batches:
            batches.at(np.arange(4), 12)
    assert (kept.hits, kept.misses) == (4, 4)


def capped(layout, seed: int = 0) -> Adapter:
    """An adapter of which the two lowest layers were never trained."""
    fresh, trained = adapters.initial(layout, 4, seed), an_adapter(layout, seed=seed)
    return Adapter(layers={**trained.layers, 0: fresh.layers[0], 1: fresh.layers[1]}, head=trained.head)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_share_what_untrained_layers_make_of_the_test_set(kind, tmp_path) -> None:
    trainee, kept = a_trainee(tmp_path, kind), Prefixes(1 << 20, is_coded=False)
    adapter, data = capped(trainee.layout), examples()

    def scored(prefix: int, adapter: Adapter = adapter) -> Counts:
        return evaluate(trainee, adapter, data, 0, len(data), 8, prefix=prefix, prefixes=kept)

    plain, first, second, other = scored(0), scored(2), scored(2), scored(2, capped(trainee.layout, seed=1))
    assert (kept.misses, kept.hits) == (len(data), 2 * len(data))
    assert first.loss == second.loss == pytest.approx(plain.loss, rel=1e-4)
    assert (first.sums["confusion"] == plain.sums["confusion"]).all()
    assert other.loss != first.loss


def test_scores_of_a_model_that_is_trained_below_are_those_without_a_prefix(tmp_path) -> None:
    trainee, kept = a_trainee(tmp_path), Prefixes(1 << 20, is_coded=False)
    adapter, data = an_adapter(trainee.layout), examples()
    found = [evaluate(trainee, adapter, data, 0, len(data), 8, prefix=prefix, prefixes=kept) for prefix in (0, 2)]
    assert found[0].loss == found[1].loss
    assert kept.misses == 0


def test_only_an_exact_prefix_with_a_cap_leaves_layers_that_nobody_trains() -> None:
    assert prefix.untrained(TrainingSpec(prefix="exact", depth_cap=4), 12) == 8
    assert prefix.untrained(TrainingSpec(prefix="exact", depth_cap=20), 12) == 0
    assert prefix.untrained(TrainingSpec(prefix="exact"), 12) == 0
    assert prefix.untrained(TrainingSpec(prefix="stale", depth_cap=4), 12) == 0


def test_the_bytes_are_bounded_and_the_oldest_goes_first() -> None:
    kept = Prefixes(3 * (4 * 32 + 4))
    for name in "abc":
        kept.keep(name, torch.ones(4, 32))
    assert kept.find("a")
    kept.keep("d", torch.ones(4, 32))
    assert [name for name in "abcd" if kept.find(name)] == ["a", "c", "d"]
    assert kept.bytes <= kept.most_bytes
    kept.keep("e", torch.ones(400, 32))  # greater than all the room there is: used, not kept
    assert kept.find("e") is None
    assert kept.find("a")


@pytest.mark.parametrize("is_coded", [True, False])
def test_a_process_that_comes_later_finds_it_in_files(is_coded, tmp_path) -> None:
    trainee, folder = a_trainee(tmp_path / "model"), tmp_path / "kept"
    in_memory, first = (trained(trainee, upper(), Prefixes(1 << 20, is_coded)), PrefixFiles(folder, 1 << 20, is_coded))
    cold = trained(trainee, upper(), first)
    warm = trained(trainee, upper(), PrefixFiles(folder, 1 << 20, is_coded))
    assert (cold.report.misses, warm.report.misses, warm.report.hits) == (20, 0, 40)
    assert adapters.digest(cold.delta) == adapters.digest(warm.delta) == adapters.digest(in_memory.delta)


def test_a_file_that_is_not_as_it_was_written_is_computed_again(tmp_path) -> None:
    kept = PrefixFiles(tmp_path, 1 << 20)
    for name in "abcd":
        kept.keep(name, torch.ones(4, 32))
    whole = (tmp_path / "a").read_bytes()
    (tmp_path / "b").write_bytes(whole[:-1])
    (tmp_path / "c").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    (tmp_path / "d").write_bytes(b"")
    assert [name for name in "abcd" if kept.find(name)] == ["a"]
    assert torch.equal(kept.keep("b", torch.ones(4, 32)).codes, kept.find("b").codes)


def test_files_are_bounded_and_the_oldest_goes_first(tmp_path) -> None:
    kept = PrefixFiles(tmp_path, 1 << 20)
    kept.keep("a", torch.ones(4, 32))
    size = (tmp_path / "a").stat().st_size
    kept = PrefixFiles(tmp_path, 3 * size)
    for at, name in enumerate("bc"):
        kept.keep(name, torch.ones(4, 32))
        os.utime(tmp_path / name, (at + 1, at + 1))
    assert kept.find("b")  # used last
    kept.keep("d", torch.ones(4, 32))
    assert [name for name in "abcd" if (tmp_path / name).exists()] == ["a", "b", "d"]
    kept.keep("e", torch.ones(400, 32))
    assert not (tmp_path / "e").exists()
    PrefixFiles(tmp_path, size)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_costs_what_is_kept_and_no_round(tmp_path) -> None:
    (tmp_path / "kept").write_text("no folder")
    kept = PrefixFiles(tmp_path / "kept", 1 << 20)
    found = trained(a_trainee(tmp_path / "model"), upper(), kept)
    assert (found.report.failure, found.report.hits, found.report.misses) == ("", 0, 40)


@pytest.mark.parametrize("kind", KINDS)
def test_drift_is_how_far_apart_two_adapters_are_above_the_prefix(kind, tmp_path) -> None:
    trainee, data = a_trainee(tmp_path, kind), examples().rows(np.arange(6))
    former = an_adapter(trainee.layout)
    above = replace(former, layers={**former.layers, 2: an_adapter(trainee.layout, seed=9).layers[2]})
    below = replace(former, layers={**former.layers, 1: an_adapter(trainee.layout, seed=9).layers[1]})
    assert drift(trainee, former, former, data, 2) == 0
    assert drift(trainee, former, above, data, 2) == 0
    assert 1e-3 < drift(trainee, former, below, data, 2) < 2
    assert drift(trainee, former, above, data, 3) > 1e-3  # as for those that train the head alone


def test_the_model_is_as_it_was_afterwards(tmp_path) -> None:
    trainee = a_trainee(tmp_path)
    before = trained(trainee, an_assignment(), None)
    trained(trainee, upper(), None)
    assert adapters.digest(trained(trainee, an_assignment(), None).delta) == adapters.digest(before.delta)


def world_of(training: TrainingSpec, devices: int = 3):
    return replace(everyone(devices), training=training)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "training", [STALE, TrainingSpec(prefix="exact", depth_cap=4, steps=3)], ids=["stale", "exact"]
)
def test_every_method_takes_a_prefix(method, training) -> None:
    made, known = prefix.remembered(strategy(method), training), world_of(training)
    state = begin(made, known)
    for _ in range(4):
        planned, answers, outcome = run(made, state, fleet(3, 6, 12), known)
        for asked in planned.assignments:
            lowest = min(asked.trained, default=known.layers)
            assert all(layer < lowest for layer in asked.present[: asked.prefix])
            assert lowest >= known.layers - prefix.cap(known) or training.prefix == "exact"
            assert 0 <= asked.known <= 1
            if training.prefix == "exact" and all(len(each.present) == known.layers for each in planned.assignments):
                assert asked.prefix == known.layers - 4
                assert lowest >= known.layers - 4
        assert {name for name in outcome.state.memo if name.startswith(prefix.OWN)} == {
            name for name in state.memo if name.startswith(prefix.OWN)
        }
        assert set(outcome.state.memo) >= set(strategy(method).init(state.adapter, known))
        state = outcome.state
    assert state.round == 4


def test_a_whole_epoch_is_computed_once_a_stretch_and_then_found() -> None:
    training = replace(STALE, steps=None)
    made, known = prefix.remembered(strategy("fedlora"), training), world_of(training)
    state, shares = begin(made, known), []
    for _ in range(5):
        planned, _, outcome = run(made, state, fleet(4, 4, 4), known)
        shares.append({asked.known for asked in planned.assignments})
        state = outcome.state
    assert shares == [{0.0}, {1.0}, {1.0}, {0.0}, {1.0}]


def test_a_probe_that_shows_too_much_drift_ends_a_stretch() -> None:
    training = replace(STALE, steps=None, prefix_rounds=10, prefix_drift=0.1)
    made, known = prefix.remembered(strategy("fedlora"), training), world_of(training)
    state, shares, watched = begin(made, known), [], []
    for drifted in (0.05, 0.2, None, 0.1, 0.11, 0.0):
        planned, _, outcome = run(made, state, fleet(4, 4, 4), known)
        shares.append({asked.known for asked in planned.assignments})
        watched.append(prefix.is_watched(outcome.state, training))
        assert prefix.top(outcome.state) == known.layers - 4
        state = prefix.after_probe(outcome.state, drifted, training)
    assert shares == [{0.0}, {1.0}, {0.0}, {1.0}, {1.0}, {0.0}]
    assert all(watched)
    assert not prefix.is_watched(state, replace(training, prefix_drift=0.0))
    assert not prefix.is_watched(prefix.anew(state, state.round, training), training)
    anchor = prefix.anchored(prefix.anew(state, state.round, training))
    for layer, pairs in anchor.layers.items():
        np.testing.assert_array_equal(next(iter(pairs.values())).a, next(iter(state.adapter.layers[layer].values())).a)


def test_below_its_own_layers_a_device_is_sent_those_of_the_stretch() -> None:
    training = replace(STALE, steps=None)
    made, known = prefix.remembered(strategy("fedquad"), training), world_of(training)
    state, sent = begin(made, known), []
    for number in range(4):
        planned = plan(made, state, fleet(3, 12, 12), known)
        shallow = next(asked for asked in planned.assignments if asked.prefix)
        adapter = made.send(state, shallow, known)
        assert shallow.prefix >= 2
        below = {layer: adapter.layers[layer] for layer in (0, 1)}
        sent.append(adapters.digest(replace(adapter, layers=below, head={})))
        own = state.adapter.layers[shallow.trained[0]]
        for target, pair in adapter.layers[shallow.trained[0]].items():
            np.testing.assert_array_equal(pair.b, own[target].b, err_msg=f"round {number + 1}")
        state = run(made, state, fleet(3, 12, 12), known)[2].state
    assert sent[0] == sent[1] == sent[2] != sent[3]


def test_what_is_kept_is_not_paid_again() -> None:
    known = everyone(1)
    there = fleet(12)[0]
    whole = Assignment(
        device=0, present=tuple(range(known.layers)), trained=(known.layers - 1,), ranks=(known.rank,) * known.layers,
        steps=1, learning_rate=1.0,
    )  # fmt: skip
    kept = replace(whole, prefix=known.layers - 1, known=1.0)
    layer = known.cost.flops.forward + known.cost.flops.lora_forward
    assert cost.step_flops(whole, known.cost) - cost.step_flops(kept, known.cost) == pytest.approx(
        (known.layers - 1) * layer
    )
    half = replace(kept, known=0.5)
    spent = [cost.step_seconds(one, known.cost, there) for one in (whole, half, kept)]
    assert spent[0] > spent[1] > spent[2] > known.cost.prefix_bytes / cost.STORAGE_BANDWIDTH


def test_acs_sees_what_a_prefix_spares_and_that_leaving_it_costs() -> None:
    training = replace(STALE, steps=None)
    made, known = prefix.remembered(strategy("fedquad:paced"), training), world_of(training)
    state = run(made, begin(made, known), fleet(3, 3, 3), known)[2].state
    outlook = prefix.outlook(state, fleet(3, 3, 3), known, np.arange(3))
    assert outlook is not None
    depth = int(outlook.depth[0])
    assert outlook.held[0] == 1.0
    assert outlook.fresh[0] == 0.5  # two rounds of the stretch are left, and the first would be computed
    spared = (known.layers - depth) * outlook.layer_seconds[0]
    assert outlook.spared_seconds(depth)[0] == spared
    plain = acs.describe(known.cost, fleet(3, 3, 3), known.steps, np.arange(3))
    nothing = np.zeros(3, dtype=np.int64)
    saved = plain.seconds(depth, nothing) - replace(plain, outlook=outlook).seconds(depth, nothing)
    assert saved[0] == pytest.approx(spared)


def test_the_facts_tell_how_often_it_was_there() -> None:
    made, known = prefix.remembered(strategy("fedquad"), STALE), world_of(STALE)
    state, there = begin(made, known), fleet(3, 6, known.layers)
    planned = plan(made, state, there, known)
    answers = [
        answer(asked, made.send(state, asked, known), 1e-3, hits=7, misses=asked.device)
        for asked in planned.assignments
    ]
    sent = {one.device: one.based_on for one in answers}
    outcome = finish_round(made, state, planned, sent, answers, known, quorum=1.0)
    scores = facts.Scores(score=0.5, loss=None, validation_score=0.5, validation_loss=None)
    rows = facts.round_facts(planned, outcome, there, scores, {}).assignments
    assert [(row.get("hits"), row.get("misses")) for row in rows] == [(7, 0), (7, 1), (None, None)]


def test_without_a_prefix_nothing_is_wrapped() -> None:
    made = strategy("fedquad")
    assert prefix.remembered(made, TrainingSpec()) is made


def test_its_settings_are_checked() -> None:
    for wrong in ({"depth_cap": 3}, {"prefix": "exact", "depth_cap": 0}, {"prefix": "stale", "prefix_rounds": 0},
                  {"prefix": "exact", "prefix_drift": 0.1}, {"prefix": "stale", "prefix_drift": -1.0}):  # fmt: skip
        with pytest.raises(SpecError, match=r"training\.(depth_cap|prefix_rounds|prefix_drift)"):
            TrainingSpec(**wrong)
    with pytest.raises(SpecError, match=r"training\.prefix_drift.*data.evaluation is `server`"):
        CampaignSpec(
            training=TrainingSpec(prefix="stale", prefix_drift=0.1),
            data=DataSpec(partition="local", evaluation="devices", text_columns=("text",), label_column="label"),
            fleet=FleetSpec(boards={"jetson-tx2": 1}, pools={"jetson-tx2": "tx2"}),
        )


def test_resumed_states_hold_what_is_kept() -> None:
    made, known = prefix.remembered(strategy("fedquad"), STALE), world_of(STALE)
    state = run(made, begin(made, known), fleet(3, 6, 12), known)[2].state
    loaded = replace(state, memo={name: np.asarray(value) for name, value in state.memo.items()})
    assert facts.state_digest(loaded) == facts.state_digest(state)
    assert (
        plan(made, loaded, fleet(3, 6, 12), known).assignments == plan(made, state, fleet(3, 6, 12), known).assignments
    )
