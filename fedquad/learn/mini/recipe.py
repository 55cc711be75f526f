"""Everything that decides the `mini` backbone's weights, as one record that is kept beside them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Steps of AdamW at one depth: the rate rises over `warmup` steps, then falls linearly to nothing."""

    layers: int
    steps: int
    learning_rate: float
    warmup: int = 100
    above: int = 0  # of the layers that this stage adds, how many lie above the trained ones
    keep: float = 0.0  # weight of saying every visible word again


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A shallow network learns first and is then made deeper: a step costs what its layers cost."""

    stages: tuple[Stage, ...] = (
        Stage(layers=4, steps=6000, learning_rate=2e-3),
        Stage(layers=4, steps=8000, learning_rate=2e-3),
        Stage(layers=12, steps=1000, learning_rate=1e-3, above=2, keep=1.0),
    )
    seed: int = 0
    hidden: int = 64
    heads: int = 4
    spread: float = 0.08  # standard deviation of the initial weights
    likeness: float = 0.8  # gain of the query and key maps, equal at first
    documents: int = 64  # in a batch
    weight_decay: float = 0.01
    marked_rows: float = 0.7  # documents whose marked word is hidden; of the others, any word but that
    mask_beside_mark: float = 0.02
    mask_words: float = 0.2
    two_segments: float = 0.5  # documents with </s></s> between their parts
    threads: int = 1
