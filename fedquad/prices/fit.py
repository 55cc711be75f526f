"""The constants of Eq. 6 and Eq. 11, fitted to what was measured on a machine.

    seconds = c_f + c_d d + c_a a        bytes = m_f + m_o d - m_q a

Least squares of the relative error, so that small configurations count as much as large ones. `error` is the greatest
relative error over what was fitted, and over pairs (d, a) that were held out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedquad.types import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measured configuration: its trained layers (the top d unless `trained` says otherwise) and what it took."""

    depth: int
    quantized: int
    seconds: float
    peak_bytes: int
    trained: tuple[int, ...] = ()  # where LoRA trains, for positions other than the top
    batch: int = 0  # where it is not the profile's
    held_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Three constants with the greatest relative errors."""

    constants: tuple[float, float, float]
    error: float
    held_out_error: float
    greatest_shortfall: float  # how far a measured value lies above the fit, at most


def fit(samples: Sequence[Sample], values: Sequence[float], sign: int = 1) -> Fit:
    """Fit values = x0 + x1 d + sign x2 a, constants not negative, to the samples that were not held out."""
    rows = np.array([[1.0, one.depth, sign * one.quantized] for one in samples])
    measured, held = np.array(values, dtype=np.float64), np.array([one.held_out for one in samples])
    constants = _not_negative(rows[~held] / measured[~held, None])
    residual = measured - rows @ constants
    relative = np.abs(residual) / measured
    return Fit(
        constants=(float(constants[0]), float(constants[1]), float(constants[2])),
        error=float(relative[~held].max()),
        held_out_error=float(relative[held].max(initial=0.0)),
        greatest_shortfall=float(max(0.0, residual.max())),
    )


def _not_negative(scaled: Floats) -> Floats:
    """Solve scaled @ x = 1, leaving out a column whose constant would be negative: noise, not physics."""
    kept = list(range(scaled.shape[1]))
    while True:
        solved, *_ = np.linalg.lstsq(scaled[:, kept], np.ones(len(scaled)), rcond=None)
        if (solved >= 0).all():
            found = np.zeros(scaled.shape[1])
            found[kept] = solved
            return found
        kept.pop(int(np.argmin(solved)))


def frozen_layer_bytes(samples: Sequence[Sample], layers: int, fixed: float, layer: float) -> float:
    """What a frozen layer above trained ones keeps, from samples that train lower layers only (Figure 2)."""
    found = [
        (one.peak_bytes - fixed - layer * len(one.trained)) / above
        for one in samples
        if one.trained and (above := layers - 1 - min(one.trained) - (len(one.trained) - 1)) > 0
    ]
    return float(np.clip(np.mean(found), 0.0, layer)) if found else layer


def profile_facts(samples: Sequence[Sample], layers: int, resident_bytes: int) -> Mapping[str, object]:
    """Constants and errors of a profile; memory is what a step adds to the resident model, which m_f then includes."""
    top = [one for one in samples if not one.trained and not one.batch and one.depth]
    time, memory = fit(top, [one.seconds for one in top]), fit(top, [one.peak_bytes for one in top], sign=-1)
    c_f, c_d, c_a = time.constants
    m_f, m_o, m_q = memory.constants
    return {
        "constants": {
            "c_f": c_f,
            "c_d": c_d,
            "c_a": c_a,
            "m_f": m_f + resident_bytes,
            "m_o": m_o,
            "m_q": m_q,
            "frozen": frozen_layer_bytes(samples, layers, m_f, m_o),
            "margin": memory.greatest_shortfall,
        },
        "errors": {
            "seconds": time.error,
            "seconds_held_out": time.held_out_error,
            "bytes": memory.error,
            "bytes_held_out": memory.held_out_error,
        },
    }
