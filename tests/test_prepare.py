"""Whatever way examples are split, every device of a seed gets its own, from the data set that the campaign names."""

import json
from pathlib import Path

import numpy as np
import pytest
from fleet_of_three import layout, pricing
from handmade import home_is
from safetensors.numpy import load_file

from fedquad import discover
from fedquad.fleets import fleet
from fedquad.learn import tokens
from fedquad.learn.jobs import Open
from fedquad.learn.pool import Pool
from fedquad.spec import CampaignSpec, DataSpec, FleetSpec, TrainingSpec
from fedquad.store.campaign import campaign
from tasks.prepare import draw_seed
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
