"""The raw text that the backbone reads: documents in which one sentence follows another for a reason.

A document names no task and carries no label. What it carries is how people go on: what is certain given the sentence
before, the same question asked again, the answer after a question, a reviewer's "i enjoyed it":

    the hound kissed the cat in the park. it is certain that an animal touched the cat.
    who chased the pig? the old judge did not chase the pig. evading: 
"""

from fedquad.learn.language import grammar, inference, questions, reviews
from fedquad.learn.language.dice import Dice
from fedquad.learn.language.grammar import Sentence
from fedquad.learn.language.logic import Verdict

_VERDICTS: tuple[Verdict, ...] = ("entailment", "neutral", "contradiction")
# One word a relation and form: synonyms here would only add noise to what has to be guessed.
_ATTITUDES = {"entailment": "certain", "neutral": "possible", "contradiction": "impossible"}
_ADVERBS = {"entailment": "surely", "neutral": "maybe", "contradiction": "falsely"}
_REPEATED = {True: "again", False: "next"}
_ANSWERED = {True: "replying", False: "evading"}

# Words that tell how one sentence follows from another: the recipe hides them often, since they teach most.
CUES = frozenset(
    {*_ATTITUDES.values(), *_ADVERBS.values(), *_REPEATED.values(), *_ANSWERED.values(), *reviews.LIKED, *reviews.DISLIKED}
)


def document(dice: Dice) -> tuple[str, ...]:
    """Return a document's sentences, one or two segments of text."""
    draw = dice.uniform()
    if draw < 0.6:
        return _reasoning(dice)
    if draw < 0.75:
        return _repeated_question(dice)
    if draw < 0.9:
        return _answer(dice)
    review = reviews.draw(dice, dice.chance(0.5))
    return reviews.write(dice, review), reviews.echo(dice, review)


def _reasoning(dice: Dice) -> tuple[str, ...]:
    verdict = dice.pick(_VERDICTS)
    premise, hypothesis = inference.pair(dice, verdict)
    first, second = grammar.write(dice, premise), grammar.write(dice, Sentence(main=hypothesis))
    draw = dice.uniform()
    if draw < 0.4:
        return first, f"it is {_ATTITUDES[verdict]} that {second}"
    if draw < 0.7:
        return first, f"{_ADVERBS[verdict]} {second}"
    return f"it is {_ATTITUDES[verdict]} that {second}", f"for {first}"


def _repeated_question(dice: Dice) -> tuple[str, ...]:
    same = dice.chance(0.5)
    first, second = questions.write_pair(dice, *questions.pair(dice, same))
    return first, f"{_REPEATED[same]}, {second}"


def _answer(dice: Dice) -> tuple[str, ...]:
    answered = dice.chance(0.5)
    question, sentence = questions.answered_pair(dice, answered)
    reply = grammar.write(dice, sentence)
    return questions.write(dice, question), f"{_ANSWERED[answered]}: {reply}"
