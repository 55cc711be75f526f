"""Why a device got what it got: every depth with its least quantization, gain, time, reward, and what ruled it out."""

from dataclasses import dataclass

from fedquad.prices.cost import Constants
from fedquad.rounds import acs
from fedquad.rounds.acs import Choices, Devices, Settings
from fedquad.types import Floats

MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One depth of one device; `quantized` is the least a with which it fits, `reward` None where the rule has none."""

    depth: int
    quantized: int
    gain: float
    seconds: float
    reward: float | None
    fits: bool
    why: str  # "chosen", or what ruled it out


def explain(
    device: int,
    devices: Devices,
    choices: Choices,
    constants: Constants,
    settings: Settings,
    gradient_norms: Floats,
    mean_seconds: float,
) -> tuple[Candidate, ...]:
    """Every depth of the device in row `device`, shallowest first."""
    one, gain = devices.part(slice(device, device + 1)), acs.gains(gradient_norms)
    end = acs.choose_deadline(devices, constants, gain)[0] if settings.rule == "deadline" else None
    cap = acs.cap(settings, mean_seconds)
    found = []
    for depth, least, fits, times in acs.candidates(one, constants, len(gain)):
        seconds, quantized = float(times[0]), int(least[0])
        reward = None
        why = "less reward"
        if settings.rule == "paced" and mean_seconds:
            reward, why = float(gain[depth - 1] ** settings.power / seconds), "less gain a second"
        elif end is None and mean_seconds:
            reward = float(acs.reward(settings, gain[depth - 1], times, mean_seconds)[0])
        if not fits[0]:
            short = constants.m_f + constants.m_o * depth - constants.m_q * (depth - 1) - int(one.memory_bytes[0])
            why = f"does not fit: {short / MIB:.0f} MiB short with all but the top layer quantized"
        elif (depth, quantized) == (choices.depth[device], choices.quantized[device]):
            fallback = acs.FALLBACKS[choices.fallback[device]]
            why = "chosen" if not fallback else "chosen: none ends in time, this one is the fastest"
        elif end is not None:
            why = f"ends after the round's {end:.1f} s" if seconds > end else "less gain"
        elif not mean_seconds:
            why = "quantized" if quantized else "shallower"
        elif settings.rule != "paced" and seconds > cap:
            why = f"ends after t_avg + theta = {cap:.1f} s"
        found.append(
            Candidate(
                depth=depth,
                quantized=quantized,
                gain=float(gain[depth - 1]),
                seconds=seconds,
                reward=reward,
                fits=bool(fits[0]),
                why=why,
            )
        )
    return tuple(found)
