"""Everything that decides the `mini-decoder` backbone's weights, as one record that is kept beside them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Steps of AdamW at one depth: the rate rises over `warmup` steps, then falls linearly to nothing."""

    layers: int
    steps: int
    learning_rate: float
    asked: float = 0.55  # share of documents that are questions about a story
    warmup: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A shallow network learns first and is then made deeper: a step costs what its layers cost."""

    stages: tuple[Stage, ...] = (
        Stage(layers=4, steps=1600, learning_rate=3e-3),
        Stage(layers=4, steps=2000, learning_rate=3e-3, asked=0.9),
        Stage(layers=12, steps=200, learning_rate=1e-3),
    )
    seed: int = 0
    hidden: int = 64
    intermediate: int = 176
    heads: int = 4
    key_value_heads: int = 2
    rope_theta: float = 100.0  # texts are of some 60 words: the slowest pair turns once in 350
    spread: float = 0.08  # standard deviation of the initial weights
    likeness: float = 0.8  # gain of the query and key maps, equal at first
    documents: int = 64  # in a batch
    weight_decay: float = 0.01
    guesses: float = 0.1  # weight of words that nothing before them tells, beside 1 of those that follow
    turned: float = 0.5  # documents with <turn> between their parts
    threads: int = 1
