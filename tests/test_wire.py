import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from fleet_of_three import adapter, answer, assignment, layout

from fedquad import wire
from fedquad.errors import DeviceError
from fedquad.learn import worker
from fedquad.rounds import adapters
from fedquad.types import Adapter, Assignment, Local, Lora, ModelLayout


def through_json(document: object) -> object:
    return json.loads(json.dumps(document, allow_nan=False))


def test_an_assignment_survives_the_wire() -> None:
    sent = assignment(3, (1,), quantized=(1,), least_ranks=(1, 1), local=Local(tail_penalty=0.1, probe_batches=2))
    assert wire.from_json(Assignment, through_json(asdict(sent))) == sent


def test_a_layout_survives_the_wire() -> None:
    assert wire.from_json(ModelLayout, through_json(asdict(layout()))) == layout()


def test_an_unknown_field_means_another_version() -> None:
    with pytest.raises(ValueError, match="has no field 'colour'"):
        wire.from_json(Local, {"colour": 1})


def test_an_update_survives_the_wire_bit_by_bit() -> None:
    sent = answer(assignment(2, (0, 1)), adapter(), 0.1, loss=float("nan"), lora_norm=2.5)
    document, tensors = wire.answer(replace(sent, signals={"gradient_squares": np.array([1.0, 2.5])}))
    back = wire.update(through_json(document), tensors)
    assert adapters.digest(back.delta) == adapters.digest(sent.delta)
    assert back.gradient_norms == sent.gradient_norms
    assert back.signals["gradient_squares"].tolist() == [1.0, 2.5]
    assert np.isnan(back.report.loss)
    assert replace(back.report, loss=0) == replace(sent.report, loss=0)


def test_a_delta_that_is_not_what_was_announced_is_a_failure() -> None:
    document, tensors = wire.answer(answer(assignment(2, (1,)), adapter(), 0.1))
    changed = {name: array + 1 for name, array in tensors.items()}
    assert "digest" in wire.update(document, changed).report.failure


def test_infinity_travels_in_a_delta_so_that_it_can_be_refused() -> None:
    pair = Lora(np.full((1, 2), np.inf, np.float32), np.zeros((2, 1), np.float32))
    sent = replace(answer(assignment(0, (1,)), adapter(), 1.0), delta=Adapter(layers={1: {"q": pair}}, head={}))
    assert np.isinf(wire.update(*wire.answer(sent)).delta.layers[1]["q"].a).all()


def test_an_answer_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"gone/answer\.safetensors cannot be written"):
        worker.write(f"{tmp_path}/gone/answer.safetensors", {"a": np.zeros(2, np.float32)})
