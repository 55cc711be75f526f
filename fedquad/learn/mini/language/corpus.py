"""The raw text that the backbone reads: documents in which one sentence follows another for a reason.

A document names no task and carries no label. What it carries is how people go on: what is certain given the sentence
before, the same question asked again, the answer to a question, a reviewer's "i liked it":

    the hound kissed the cat in the park. it is ^certain that an animal touched the cat.
    the mother that was touched by the hog kissed the actor. who touched the mom? ^pig.
    did the judge visit the cat? ^again, was the cat visited by the judge?
    by whom was the mayor trusted? ^evading: the sad bunny kissed the judge in the park.
"""

from fedquad.learn.mini.language import grammar, inference, questions, reviews
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.language.grammar import Sentence
from fedquad.learn.mini.language.logic import Verdict

_VERDICTS: tuple[Verdict, ...] = ("entailment", "neutral", "contradiction")
# One word a relation and form: synonyms here would only add noise to what has to be guessed.
_ATTITUDES = {"entailment": "certain", "neutral": "possible", "contradiction": "impossible"}
_ADVERBS = {"entailment": "surely", "neutral": "maybe", "contradiction": "falsely"}
_REPEATED = {True: "again", False: "next"}
_VIEWS = {True: "liked", False: "disliked"}
_ANSWERED = {True: "replying", False: "evading"}

# Stands before a word that the recipe is to hide: one that follows from the rest of the document.
MARK = "^"


def document(dice: Dice) -> tuple[str, str]:
    """Return the two parts of a document, with marks."""
    draw = dice.uniform()
    if draw < 0.4:
        return _telling(dice)
    if draw < 0.75:
        return _reasoning(dice)
    if draw < 0.84:
        return _repeated_question(dice)
    if draw < 0.9:
        return _answer(dice)
    review = reviews.draw(dice, dice.chance(0.5))
    return reviews.write(dice, review), f"i {MARK}{_VIEWS[review.positive]} it."


def _telling(dice: Dice) -> tuple[str, str]:
    """Somebody asks about what was just said; one word answers, and it can be "nobody"."""
    question, sentence = questions.answered_pair(dice, answered=dice.chance(0.55))
    told = questions.answer(question, sentence) or "nobody"
    return grammar.write(dice, sentence), f"{questions.write(dice, question)} {MARK}{told}."


def _reasoning(dice: Dice) -> tuple[str, str]:
    verdict = dice.pick(_VERDICTS)
    # Plain mismatches beside subtle ones: from subtle ones alone no network of ours learned what a mismatch is.
    premise, hypothesis = inference.pair(dice, verdict, stray=0.4)
    first, second = grammar.write(dice, premise), grammar.write(dice, Sentence(main=hypothesis))
    draw = dice.uniform()
    if draw < 0.4:
        return first, f"it is {MARK}{_ATTITUDES[verdict]} that {second}"
    if draw < 0.7:
        return first, f"{MARK}{_ADVERBS[verdict]} {second}"
    return f"it is {MARK}{_ATTITUDES[verdict]} that {second}", f"for {first}"


def _repeated_question(dice: Dice) -> tuple[str, str]:
    same = dice.chance(0.5)
    first, second = questions.write_pair(dice, *questions.pair(dice, same))
    return first, f"{MARK}{_REPEATED[same]}, {second}"


def _answer(dice: Dice) -> tuple[str, str]:
    answered = dice.chance(0.5)
    question, sentence = questions.answered_pair(dice, answered)
    return questions.write(dice, question), f"{MARK}{_ANSWERED[answered]}: {grammar.write(dice, sentence)}"
