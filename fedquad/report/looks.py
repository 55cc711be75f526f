"""One look a method, everywhere: a colour that the colour-blind tell apart, a dash and a marker that survive a black-and-white print.

The first six are Okabe and Ito's, made darker where white paper asks for it; each has a lighter twin for dark screens. A method that
is not of the paper takes the look that its name's digest points at, or the next one free on the page.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

COLOURS = (  # on light, on dark
    ("#0072b2", "#4db1ff"),
    ("#4a4a4a", "#c9c9c9"),
    ("#d55e00", "#ff8c42"),
    ("#b4508f", "#e29bc8"),
    ("#00855f", "#2fc79a"),
    ("#b07a00", "#f0b429"),
    ("#2a93d5", "#8fd0ff"),
    ("#6a4fb3", "#b09cf0"),
    ("#8a4b38", "#d0937f"),
)
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.4)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = "osD^vPX*<"
METHODS = (
    "fedquad", "fedlora", "fedra", "inclusivefl", "layersel", "hetlora", "legend", "fedquad_wo_qd", "fedquad_wo_ld",
)  # fmt: skip
INK, FAINT, PAPER = "#1b1f24", "#d3d7dd", "#fffffe"  # what a page turns into its own colours


@dataclass(frozen=True, slots=True)
class Look:
    """How a label is drawn."""

    colour: int  # of COLOURS
    dash: int
    marker: str

    @property
    def light(self) -> str:
        return COLOURS[self.colour][0]

    @property
    def line(self) -> object:
        return DASHES[self.dash]


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """A look for each label; a method that two campaigns have keeps its colour and marker, and changes its dash."""
    campaigns = list(dict.fromkeys(_parts(label)[0] for label in labels))
    taken: dict[str, int] = {name: at for at, name in enumerate(METHODS)}
    found = {}
    for label in labels:
        campaign, method = _parts(label)
        place = taken[method] if method in taken else _free(method, taken, labels)
        taken[method] = place
        colour = place % len(COLOURS)
        turn = colour + place // len(COLOURS) + campaigns.index(campaign)
        found[label] = Look(colour, turn % len(DASHES), MARKERS[turn % len(MARKERS)])
    return found


def _parts(label: str) -> tuple[str, str]:
    campaign, _, method = label.rpartition("/")
    return campaign, method


def _free(method: str, taken: dict[str, int], labels: Sequence[str]) -> int:
    """The first place that nobody on the page has, beginning where the name's digest says."""
    there = {taken[name] for label in labels if (name := _parts(label)[1]) in taken}
    places = len(COLOURS) * len(DASHES)
    begin = int(hashlib.sha256(method.encode()).hexdigest(), 16)
    order = [(begin + at) % len(COLOURS) for at in range(len(COLOURS))] + list(range(len(COLOURS), places))
    return next((place for place in order if place not in there), begin % places)
