"""Inference pairs of the small language, with MNLI's columns and labels.

    entailment     the policeman that was punched by the dancer did not call the uncle.   the dancer punched the officer.
    entailment     the poet was not bitten by an official.         the officer did not bite the poet.
    neutral        the mother was not called by an artist.         the mother did not call an artist.
    neutral        the hound that was helped by the aunt did not hug the actor.   the hound was pushed by the aunt.
    contradiction  the officer that was touched by the poet adored the painter.   the officer did not adore an artist.
    contradiction  the dog did not bite the glad cat.              the cat was not happy.

"The dog" is the same dog in both sentences. A table without a size has 20,000, 1,000 and 2,000 rows by split.
"""

from fedquad.learn.mini.language import grammar, inference
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.language.grammar import Sentence
from fedquad.learn.mini.language.logic import Verdict
from fedquad.learn.mini.language.split import Row, table
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
