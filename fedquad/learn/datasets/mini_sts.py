"""Pairs of sentences of the small language, with STS-B's scale: how much do they say the same, from 0 to 5?

5.0   the dog kissed the cat.     the cat was kissed by the hound.
3.0   the dog kissed the cat.     the cat kissed the dog.
"""

from dataclasses import replace

from fedquad.learn.mini.language import likeness
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.language.split import Row, table
from fedquad.learn.mini.language.stories import say
from fedquad.learn.tables import Request, Table, TextTask

_COLUMNS = ("sentence1", "sentence2")


def load(request: Request) -> Table:
    """Generate the rows asked for; the grade goes along as a third column until the labels are made of it."""
    made = table("mini-sts", (*_COLUMNS, "grade"), 1, request, _row)
    return replace(made, labels=tuple(float(grade) for grade in made.columns["grade"]))


def _row(dice: Dice, label: int) -> Row:
    one, other = likeness.pair(dice)
    return say(dice, one), say(dice, other), str(likeness.grade(one, other))


TASK = TextTask(
    name="mini-sts",
    columns=_COLUMNS,
    labels=("0", str(likeness.GREATEST)),
    load=load,
    objective="regression",
    metrics=("pearson", "spearman"),
)
