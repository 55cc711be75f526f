"""A machine's profile as the paper's Figures 1(b), 2, 3 and 4: where memory goes, LoRA's position, depth, quantization."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

MIB = 2**20
MEASURED, FITTED, HELD = "#1b6ca8", "#888888", "#b3322c"


def save(profile: Mapping[str, Any], path: Path) -> None:
    """Draw the four figures into one picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    (share, position, depth_bytes, quantized_bytes), (time, place, depth_time, quantized_time) = figure.subplots(2, 4)
    _shares(share, profile)
    _blocks(position, profile, "peak_bytes", MIB, "MiB above the resident model")
    _blocks(place, profile, "seconds", 1e-3, "ms a step")
    lines = [one for one in profile["samples"] if not one["trained"] and not one["batch"] and one["depth"]]
    layers = profile["layers"]
    by_depth = [one for one in lines if not one["quantized"]]
    by_quantized = [one for one in lines if one["depth"] == layers]
    _line(depth_bytes, profile, by_depth, "depth", "peak_bytes", "LoRA depth")
    _line(depth_time, profile, by_depth, "depth", "seconds", "LoRA depth")
    _line(quantized_bytes, profile, by_quantized, "quantized", "peak_bytes", f"quantized layers at depth {layers}")
    _line(quantized_time, profile, by_quantized, "quantized", "seconds", f"quantized layers at depth {layers}")
    _held_out(time, profile, [one for one in lines if one["held_out"]])
    for axes, title in (
        (share, "1(b) memory"),
        (position, "2 position of LoRA"),
        (depth_bytes, "3 depth"),
        (quantized_bytes, "4 quantization"),
        (time, "pairs that were not fitted"),
    ):
        axes.set_title(title, loc="left", fontsize=10)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    about = ", ".join(
        f"{key} {profile[key]}" for key in ("model", "device", "batch", "sequence", "precision", "attention")
    )
    figure.suptitle(about, fontsize=9, x=0.01, ha="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def predicted(profile: Mapping[str, Any], key: str, depth: int, quantized: int) -> float:
    """What the fitted constants say of (d, a); memory without the resident model."""
    k = profile["constants"]
    if key == "seconds":
        return float(k["c_f"] + k["c_d"] * depth + k["c_a"] * quantized)
    return float(k["m_f"] - profile["resident_bytes"] + k["m_o"] * depth - k["m_q"] * quantized)


def _shares(axes: Any, profile: Mapping[str, Any]) -> None:
    """The resident model, and what a step of the full depth adds to it, at half the batch and the whole."""
    full = [one for one in profile["samples"] if one["depth"] == profile["layers"] and not one["quantized"]]
    full.sort(key=lambda one: one["batch"] or profile["batch"])
    names = [f"batch {one['batch'] or profile['batch']}" for one in full]
    resident, added = profile["resident_bytes"] / MIB, [one["peak_bytes"] / MIB for one in full]
    axes.bar(names, [resident] * len(full), color=FITTED, label="model")
    axes.bar(names, added, bottom=resident, color=MEASURED, label="activations, gradients")
    for row, one in enumerate(added):
        axes.text(row, resident + one / 2, f"{one / (one + resident):.0%}", ha="center", va="center", color="white")
    axes.set(ylabel="MiB", ylim=(0, 1.3 * (resident + max(added))))
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _blocks(axes: Any, profile: Mapping[str, Any], key: str, unit: float, label: str) -> None:
    """Shallow, middle and deep blocks, and all layers."""
    layers = profile["layers"]
    blocks = [one for one in profile["samples"] if one["trained"]]
    top = max(1, round(layers / 3))
    found = [(f"{one['trained'][0]}-{one['trained'][-1]}", one[key]) for one in blocks]
    for one in profile["samples"]:
        if not (one["trained"] or one["batch"] or one["quantized"]) and one["depth"] in (top, layers):
            found.append(("all" if one["depth"] == layers else f"{layers - top}-{layers - 1}", one[key]))
    axes.bar([name for name, _ in found], [value / unit for _, value in found], color=MEASURED)
    axes.set(xlabel="layers with LoRA trained", ylabel=label)


def _line(axes: Any, profile: Mapping[str, Any], samples: list[Any], over: str, key: str, label: str) -> None:
    unit, unit_name = (1e-3, "ms a step") if key == "seconds" else (MIB, "MiB above the resident model")
    samples = sorted(samples, key=lambda one: one[over])
    across = [one[over] for one in samples]
    fitted = [predicted(profile, key, one["depth"], one["quantized"]) / unit for one in samples]
    axes.plot(across, fitted, color=FITTED, linewidth=1, label="fit")
    axes.plot(across, [one[key] / unit for one in samples], "o", color=MEASURED, markersize=4, label="measured")
    axes.set(xlabel=label, ylabel=unit_name)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)


def _held_out(axes: Any, profile: Mapping[str, Any], held: list[Any]) -> None:
    """Relative errors of the fit on pairs it never saw."""
    names = [f"({one['depth']}, {one['quantized']})" for one in held]
    for offset, key, colour in ((-0.2, "seconds", MEASURED), (0.2, "peak_bytes", HELD)):
        errors = [100 * (predicted(profile, key, one["depth"], one["quantized"]) / one[key] - 1) for one in held]
        axes.bar([row + offset for row in range(len(held))], errors, width=0.4, color=colour, label=key.split("_")[-1])
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_xticks(range(len(held)), names, rotation=60, fontsize=7)
    axes.set(ylabel="error of the fit, %")
    axes.legend(frameon=False, fontsize=8)
