"""Inference pairs of the small language, with MNLI's columns and labels (`python -m fedquad.learn.datasets.mini_nli`).

PLACEHOLDER
"""

from fedquad.learn.language import grammar, inference
from fedquad.learn.language.dice import Dice
from fedquad.learn.language.grammar import Sentence
from fedquad.learn.language.logic import Verdict
from fedquad.learn.language.split import Row, table
from fedquad.learn.tables import Request, Table, TextTask

_COLUMNS = ("premise", "hypothesis")
_LABELS: tuple[Verdict, ...] = ("entailment", "neutral", "contradiction")


def load(request: Request) -> Table:
    """Generate the rows asked for."""
    return table("mini-nli", _COLUMNS, len(_LABELS), request, _row)


def _row(dice: Dice, label: int) -> Row:
    premise, hypothesis = inference.pair(dice, _LABELS[label])
    return grammar.write(dice, premise), grammar.write(dice, Sentence(main=hypothesis))


TASK = TextTask(name="mini-nli", columns=_COLUMNS, labels=_LABELS, load=load)
