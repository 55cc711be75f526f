"""Questions and sentences of the small language, with QNLI's columns and labels: does the sentence answer?

PLACEHOLDER
"""

from fedquad.learn.language import grammar, questions
from fedquad.learn.language.dice import Dice
from fedquad.learn.language.split import Row, table
from fedquad.learn.tables import Request, Table, TextTask

_COLUMNS = ("question", "sentence")
_LABELS = ("entailment", "not_entailment")


def load(request: Request) -> Table:
    """Generate the rows asked for."""
    return table("mini-qnli", _COLUMNS, len(_LABELS), request, _row)


def _row(dice: Dice, label: int) -> Row:
    question, sentence = questions.answered_pair(dice, answered=_LABELS[label] == "entailment")
    return questions.write(dice, question), grammar.write(dice, sentence)


TASK = TextTask(name="mini-qnli", columns=_COLUMNS, labels=_LABELS, load=load)
