"""Reviews in the small language, with SST-2's column and labels: was it any good?

positive  the story that people disliked was charming.
positive  the ending was clumsy but the film that critics liked was quite charming.
positive  the song was far from tedious.
positive  critics who said that the plot was never clever were wrong.
negative  the show was not at all funny.
negative  the plot was really clumsy.
"""

from fedquad.learn.mini.language import reviews
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.language.split import Row, table
from fedquad.learn.tables import Request, Table, TextTask

_COLUMNS = ("sentence",)
_LABELS = ("negative", "positive")


def load(request: Request) -> Table:
    """Generate the rows asked for."""
    return table("mini-sst2", _COLUMNS, len(_LABELS), request, _row)


def _row(dice: Dice, label: int) -> Row:
    return (reviews.write(dice, reviews.draw(dice, positive=_LABELS[label] == "positive")),)


TASK = TextTask(name="mini-sst2", columns=_COLUMNS, labels=_LABELS, load=load)
