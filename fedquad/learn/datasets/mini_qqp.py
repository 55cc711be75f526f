"""Pairs of questions of the small language, with QQP's columns and labels: do both ask the same?

duplicate      who visited the mayor?                   by whom was the mayor visited?
duplicate      was the bunny remembered by the poet?    did the poet remember the bunny?
not_duplicate  did an animal visit the policeman?       did the policeman visit an animal?
not_duplicate  who did the painter bite in the road?    who was pursued by the painter in the street?
"""

from fedquad.learn.mini.language import questions
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.language.split import Row, table
from fedquad.learn.tables import Request, Table, TextTask

_COLUMNS = ("question1", "question2")
_LABELS = ("not_duplicate", "duplicate")


def load(request: Request) -> Table:
    """Generate the rows asked for."""
    return table("mini-qqp", _COLUMNS, len(_LABELS), request, _row)


def _row(dice: Dice, label: int) -> Row:
    return questions.write_pair(dice, *questions.pair(dice, same=_LABELS[label] == "duplicate"))


TASK = TextTask(name="mini-qqp", columns=_COLUMNS, labels=_LABELS, load=load, metrics=("accuracy", "f1"))
