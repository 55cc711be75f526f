"""A story of two events and a question about one of them, answered in a sentence.

the hound chased the poet. the judge was embraced by the aunt in the park. by whom was the judge hugged?
the judge was hugged by the aunt.
"""

from fedquad.learn.mini.language import stories
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.language.split import Row, table
from fedquad.learn.tables import Request, Table, TextTask

_COLUMNS = ("prompt", "answer")
EVENTS = 2


def load(request: Request) -> Table:
    """Generate the rows asked for."""
    return table("mini-chat", _COLUMNS, 1, request, _row)


def _row(dice: Dice, label: int) -> Row:
    story = stories.draw(dice, EVENTS)
    return f"{stories.tell(dice, story)} {stories.ask(dice, story)}", stories.reply(story)


TASK = TextTask(
    name="mini-chat",
    columns=_COLUMNS,
    labels=(),
    load=load,
    objective="causal_lm",
    metrics=("exact_match", "token_accuracy", "perplexity"),
)
