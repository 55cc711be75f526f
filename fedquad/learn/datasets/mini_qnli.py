"""Questions and sentences of the small language, with QNLI's columns and labels: does the sentence answer?

    entailment      who did the cousin hurt?          the cousin punched the aunt.
    entailment      who shoved the dog?               the dog that was pushed by the aunt did not trust the poet.
    not_entailment  who was trusted by the cat?       the cat that was trusted by the mom hurt the mother.
    not_entailment  who was bitten by a relative?     the senator touched a relative.

A sentence answers if it names someone: "an animal chased the cat" does not say who did.
"""

from fedquad.learn.mini.language import grammar, questions
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.language.split import Row, table
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
