import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from fleet_of_three import adapter, answer, assignment, layout
from safetensors.numpy import save

from fedquad import wire
from fedquad.errors import DeviceError
from fedquad.learn import worker
from fedquad.rounds import adapters
from fedquad.rounds.admit import Asked, admitted
from fedquad.types import Assignment, Local, ModelLayout


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
    asked = Asked(assignment=assignment(2, (0, 1)), round=1, sent=adapters.digest(adapter()), like=adapter())
    sent = answer(asked.assignment, adapter(), 0.1, loss=float("nan"), lora_norm=2.5)
    document, tensors = wire.answer(sent)
    back = admitted(json.dumps(document).encode(), save(tensors), asked)
    assert adapters.digest(back.delta) == adapters.digest(sent.delta) == back.digest
    assert back.gradient_norms == sent.gradient_norms
    assert np.isnan(back.report.loss)
    assert replace(back.report, loss=0) == replace(sent.report, loss=0)


def test_a_probes_answer_survives_the_wire() -> None:
    asked = Asked(assignment=assignment(2, (0, 1), steps=0), round=1, sent="d", like=adapter())
    signals = {"gradient_squares": np.array([1.0, 2.5])}
    sent = replace(wire.failed(2, 1, "d", ""), signals=signals)
    back = admitted(json.dumps(wire.answer(sent)[0]).encode(), None, asked)
    assert back.signals["gradient_squares"].tolist() == [1.0, 2.5]


def test_an_answer_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"gone/answer\.safetensors cannot be written"):
        worker.write(f"{tmp_path}/gone/answer.safetensors", {"a": np.zeros(2, np.float32)})
