"""Fleets whose fastest device is 3, 6 or 20 times its slowest: speed levels of each class in place of the boards' own power modes."""

import numpy as np

from fedquad.fleets.boards import Board, PowerMode

# Sustained TFLOP/s and number of modes per class when the fastest is 6 times the slowest; other spreads stretch it
# about the geometric middle.
SIX = {"strong": (2.0, 3.0, 8), "moderate": (1.0, 1.6, 4), "weak": (0.5, 0.8, 4)}
SPREADS = {"3x": 3.0, "6x": 6.0, "20x": 20.0}


def levels(board: Board, spread: float) -> tuple[PowerMode, ...]:
    """Modes of a class in a fleet whose fastest device is `spread` times its slowest, as clocks that give them."""
    low, high, count = SIX[board.device_class]
    middle = (SIX["weak"][0] * SIX["strong"][1]) ** 0.5
    full = max(board.modes, key=lambda mode: mode.units * mode.clock_mhz)
    modes = []
    for level, tera in enumerate(np.linspace(low, high, count)):
        stretched = middle * (tera / middle) ** (np.log(spread) / np.log(6.0))
        clock = stretched * 1e6 / (board.sustained * full.units * board.lanes * 2)
        modes.append(
            PowerMode(
                name=f"{board.device_class}-{level + 1}/{count}",
                cpu_cores=full.cpu_cores,
                cpu_mhz=full.cpu_mhz,
                units=full.units,
                clock_mhz=float(clock),
                memory_mhz=full.memory_mhz,
                watts=full.watts,
                source=f"spread {spread:g}: {stretched:.3g} TFLOP/s sustained",
            )
        )
    return tuple(modes)
