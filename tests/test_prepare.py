"""Whatever way examples are split, every device of a seed gets its own, from the data set that the campaign names."""

import json
from pathlib import Path

import numpy as np
import pytest
from fleet_of_three import layout, pricing
from handmade import home_is
from safetensors.numpy import load_file

from fedquad import discover
from fedquad.errors import SpecError
from fedquad.fleets import fleet
from fedquad.learn import tokens
from fedquad.learn.jobs import Open
from fedquad.learn.pool import Pool
from fedquad.spec import CampaignSpec, DataSpec, FleetSpec, TrainingSpec
from fedquad.store.campaign import campaign
from fedquad.store.progress import Progress, is_finished
from tasks.prepare import draw_seed, partition_of, refuse_target
from tasks.session import Session

USERS = 5


@pytest.mark.parametrize("kind", ["class_mix", "dirichlet", "iid", "column"])
def test_a_seed_is_drawn_for_every_kind_of_split(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home_is(tmp_path / "runs", monkeypatch)
    for split in ("train", "validation", "test"):
        rows = [{"text": f"text {i}", "stars": i % 2, "user": f"user {i % USERS}"} for i in range(60)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = DataSpec(
        name="stars",
        source=str(tmp_path),
        text_columns=("text",),
        label_column="stars",
        partition=kind,  # type: ignore[arg-type]
        column="user" if kind == "column" else "",
    )
    spec = CampaignSpec(data=data, fleet=FleetSpec(boards={"jetson-tx2": 3}), training=TrainingSpec(batch=4))
    session = Session(campaign("splits"), spec, Pool(1, 1))
    session.data = tokens.prepare(data, spec.model, 0, tmp_path / "cache")
    session.layout, session.cost = layout(), pricing()
    session.opening = Open(
        model=spec.model, labels=2, greatest_rank=8, splits={}, threads=1, objective="classification"
    )
    seed = draw_seed(session, fleet.resolve(spec.fleet, discover.boards()), 0)
    shards = load_file(seed.shards)
    assert seed.examples.tolist() == [len(shards[str(device)]) for device in range(3)]
    assert len(np.unique(np.concatenate(list(shards.values())))) == seed.examples.sum() >= 57
    if kind == "column":
        owners = [{int(row) % USERS for row in shards[str(device)]} for device in range(3)]
        assert sum(map(len, owners)) == USERS


@pytest.mark.parametrize("objective", discover.objectives())
def test_examples_without_classes_are_dealt_uniformly_and_never_by_class(objective: str) -> None:
    found = discover.objective(objective)
    assert partition_of(DataSpec(), found) == ("class_mix" if objective == "classification" else "iid")
    for kind in ("class_mix", "dirichlet"):
        if found.has_classes:
            assert partition_of(DataSpec(partition=kind), found) == kind
            continue
        with pytest.raises(SpecError, match=f"{objective} has no classes to deal by; there are iid and column"):
            partition_of(DataSpec(partition=kind), found)


def test_a_target_is_reached_from_the_side_that_its_metric_comes_from() -> None:
    perplexity = discover.objective("causal_lm").metric("perplexity")
    exact = discover.objective("causal_lm").metric("exact_match")
    for metric, before, after, target in ((perplexity, 2.2, 2.0, 2.1), (exact, 0.3, 0.5, 0.4)):
        refuse_target(CampaignSpec(target=target), metric)
        for score, is_there in ((before, False), (after, True)):
            done = Progress(metric=metric)
            done.add({"round": 1, "score": score, "validation_score": score, "state_digest": "a"})
            assert is_finished(done, 10, "target", target) == is_there
            assert not is_finished(done, 10, "rounds", target)
    with pytest.raises(SpecError, match=r"exact_match lies in \(0, 1\]"):
        refuse_target(CampaignSpec(target=2.1), exact)
    with pytest.raises(SpecError, match="judged by perplexity; set target"):
        refuse_target(CampaignSpec(target_accuracy=0.7), perplexity)
