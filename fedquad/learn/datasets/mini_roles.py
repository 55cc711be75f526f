"""Sentences of the small language, and who did what is told in them, to whom and where, as spans.

the hound that trusted the poet was shoved by the old aunt .
agent: the old aunt; patient: the hound
"""

from dataclasses import replace

from fedquad.learn.mini.language import roles
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.language.split import Row, table
from fedquad.learn.tables import Request, Table, TextTask

_INDEX = {tag: at for at, tag in enumerate(roles.TAGS)}


def load(request: Request) -> Table:
    """Generate the rows asked for."""
    made = table("mini-roles", ("words", "tags"), 1, request, _row)
    return replace(made, labels=tuple(tuple(_INDEX[tag] for tag in row.split()) for row in made.columns["tags"]))


def _row(dice: Dice, label: int) -> Row:
    return roles.draw(dice)


TASK = TextTask(
    name="mini-roles",
    columns=("words",),
    labels=roles.TAGS,
    load=load,
    objective="token_classification",
    metrics=("span_f1", "tag_accuracy"),
)
