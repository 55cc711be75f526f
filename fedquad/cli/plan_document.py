"""A plan as one JSON document."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from fedquad.planning import planning
from fedquad.planning.planning import Answer
from fedquad.rounds import acs
from fedquad.rounds.acs import FALLBACKS


def document(planned: Answer, compared: Mapping[str, Any], spread: Mapping[str, Any], shown: Iterable[int]) -> Any:
    """The plan as JSON-ready data, numbers unrounded; candidates of the rows `shown`."""
    question = planned.question
    is_capped = question.settings.rule == "default"
    theta = acs.cap(question.settings, planned.mean_seconds) - planned.mean_seconds if is_capped else None
    rows = [_device(planned, row) for row in range(len(planned.devices))]
    for row in shown:
        rows[row]["candidates"] = [
            {key: value for key, value in asdict(one).items() if key != "fits"}
            for one in planning.explained(planned, row)
            if one.fits
        ]
    return {
        "round": question.round,
        "rule": question.settings.rule,
        "priced_as": question.cost.name,
        "layers": question.cost.layers,
        "steps": question.usual_steps,
        "t_avg": planned.mean_seconds,
        "theta": theta,
        "c": question.settings.c,
        "constants": asdict(planning.round_constants(question.cost, question.usual_steps)),
        "gradients": question.gradient_norms.tolist(),
        "devices": rows,
        "rules": {name: asdict(one) for name, one in compared.items()},
        "spreads": {name: {rule: asdict(one) for rule, one in ruled.items()} for name, ruled in spread.items()},
    }


def _device(planned: Answer, row: int) -> dict[str, Any]:
    question, choices = planned.question, planned.choices
    status, estimated = question.statuses[int(question.there[row])], planning.estimate_of(planned, row)
    name = question.names[status.device]
    return {
        "device": name if question.fleet is None else status.device,
        "class": status.device_class,
        "board": status.board,
        "mode": status.mode,
        "memory_bytes": status.memory_bytes,
        "flops": status.flops,
        "depth": int(choices.depth[row]),
        "quantized": int(choices.quantized[row]),
        "steps": int(planned.steps[row]),
        "seconds": estimated.seconds if estimated else 0.0,
        "communication_seconds": estimated.communication_seconds if estimated else 0.0,
        "peak_bytes": estimated.peak_bytes if estimated else 0,
        "wait_seconds": float(_last(planned) - estimated.seconds) if estimated else 0.0,
        "fallback": FALLBACKS[choices.fallback[row]] or None,
    }


def _last(planned: Answer) -> float:
    return float(planned.choices.seconds.max(initial=0.0))
