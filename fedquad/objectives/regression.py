"""A number an example: Pearson's and Spearman's correlation, from sums and a table of counts that add up.

Numbers are learned on the scale from 0 to 1 between the two that the data set names. Ranks do not add up, but a table of how often
which truth met which guess does; Spearman's correlation is that of its cells' ranks, guesses in steps of 1/128.
"""

import numpy as np

from fedquad.objective import Metric, Objective, Sums
from fedquad.prices import heads
from fedquad.types import Floats, Ints

TRUTHS, GUESSES = 64, 256  # cells; guesses from -0.5 to 1.5


def table(truths: Floats, guesses: Floats) -> Ints:
    """Counts by cell of truth and guess; what lies outside counts in the outermost cells."""
    found = np.zeros((TRUTHS, GUESSES), np.int64)
    rows = np.clip(np.round(truths * (TRUTHS - 1)), 0, TRUTHS - 1).astype(np.int64)
    columns = np.clip(np.floor((guesses + 0.5) / 2 * GUESSES), 0, GUESSES - 1).astype(np.int64)
    np.add.at(found, (rows, columns), 1)
    return found


def moments(truths: Floats, guesses: Floats) -> dict[str, Floats]:
    """The sums that Pearson's correlation is made of."""
    pairs = {"x": truths, "y": guesses, "xx": truths**2, "yy": guesses**2, "xy": truths * guesses}
    return {name: np.asarray(values.sum(dtype=np.float64)) for name, values in pairs.items()}


def correlation(count: float, x: float, y: float, xx: float, yy: float, xy: float) -> float:
    """Pearson's, from sums; 0 where either does not vary."""
    spread = (count * xx - x * x) * (count * yy - y * y)
    if not np.isfinite(spread) or spread <= 1e-12 * max(count, 1) ** 2:
        return 0.0
    return float(np.clip((count * xy - x * y) / np.sqrt(spread), -1, 1))


def spearman(counts: Ints) -> float:
    """The correlation of ranks, those of one cell alike."""
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    total = max(int(counts.sum()), 1)
    x, y = ((np.cumsum(each) - (each - 1) / 2) / total for each in (rows, columns))
    return correlation(
        float(counts.sum()),
        float(rows @ x),
        float(columns @ y),
        float(rows @ x**2),
        float(columns @ y**2),
        float(x @ counts @ y),
    )


def score(sums: Sums) -> dict[str, float]:
    values = (float(sums[name]) for name in ("count", "x", "y", "xx", "yy", "xy"))
    return {"pearson": correlation(*values), "spearman": spearman(sums["table"])}


OBJECTIVE = Objective(
    name="regression",
    metrics=(Metric(name="pearson", is_share=False), Metric(name="spearman", is_share=False)),
    score=score,
    nothing=lambda labels: {"table": table(np.zeros(0), np.zeros(0)), **moments(np.zeros(0), np.zeros(0))},
    head=heads.of_sequence,
    task_type="SEQ_CLS",
    outputs=lambda names: 1,
)
