"""Numbers as people read them, on the page and in the terminal: only here they are rounded."""

from fedquad.objective import Metric

NONE = "-"


def seconds(value: float | None) -> str:
    if value is None:
        return NONE
    unit, scale = scale_of(value)
    return f"{value / scale:.1f} {unit}" if value >= 1 or value == 0 else f"{1000 * value:.0f} ms"


def scale_of(value: float) -> tuple[str, float]:
    """The unit of time that keeps a number short, and its seconds."""
    for unit, size, least in (("h", 3600.0, 7200), ("min", 60.0, 120)):
        if value >= least:
            return unit, size
    return "s", 1.0


def amount(value: float | None, unit: str) -> str:
    """A number with the decimal prefix that keeps it short: 12.3 MB, 4.5 kJ."""
    if value is None:
        return NONE
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.1f} {prefix}{unit}"
    return f"{value:.0f} {unit}"


def axis_of(metric: Metric) -> str:
    """The name of an axis of scores: test accuracy, %."""
    return f"test {metric.words}{', %' if metric.is_share else ''}"


def headed(word: str, metric: Metric) -> str:
    """The head of a column of scores: `best %`."""
    return f"{word}{metric.unit}"


def percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f}"
