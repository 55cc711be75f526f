"""Questions about events, when two of them ask the same, and sentences that answer them or only look as if they did.

"Who chased the cat?" and "by whom was the cat pursued?" ask the same; "the dog that chased the cat was old" answers.
"""

from dataclasses import dataclass, replace

from fedquad.learn.mini.language import inference, lexicon
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.language.grammar import Sentence, participant, place
from fedquad.learn.mini.language.logic import Claim, Event, is_kind, judge

_TRIES = 60


@dataclass(frozen=True, slots=True)
class Question:
    """An event, and what is asked of it: who did it, to whom, or (nothing) whether it happened at all."""

    fact: Event
    asked: str = ""

    def key(self) -> tuple[Event, str]:
        """Return what two questions share when they ask the same: what is asked for has no value."""
        return (replace(self.fact, **{self.asked: ""}) if self.asked else self.fact), self.asked


def write(dice: Dice, question: Question) -> str:
    """Return the question in words of this draw."""
    fact, verb = question.fact, lexicon.VERBS[question.fact.verb]
    base, past, participle = dice.pick(verb.bases), dice.pick(verb.pasts), dice.pick(verb.participles)
    subject, object_ = participant(dice, fact.subject), participant(dice, fact.object)
    passive = dice.chance(0.5)
    if question.asked == "subject":
        words = f"by whom was {object_} {participle}" if passive else f"who {past} {object_}"
    elif question.asked == "object":
        words = f"who was {participle} by {subject}" if passive else f"who did {subject} {base}"
    else:
        words = f"was {object_} {participle} by {subject}" if passive else f"did {subject} {base} {object_}"
    return f"{words} {place(dice, fact)}?" if fact.place else f"{words}?"


def write_pair(dice: Dice, first: Question, second: Question) -> tuple[str, str]:
    """Return both questions, never in the same words: every question can be put in two ways at least."""
    text = write(dice, first)
    while (other := write(dice, second)) == text:
        pass
    return text, other


def draw(dice: Dice, asked: str | None = None) -> Question:
    """Return a question; None leaves open what it asks for."""
    fact = inference.event(dice)
    if asked is None:
        asked = dice.pick(("", "", "subject", "object"))
    if dice.chance(0.2):
        fact = inference.generalised(dice, fact)
    # "Who kissed the cat" has no kind to ask for: the one asked for is a name, though nobody says it.
    if asked and is_kind(getattr(fact, asked)):
        fact = replace(fact, **{asked: dice.pick(lexicon.KINDS[getattr(fact, asked)])})
    return Question(fact, asked)


def pair(dice: Dice, same: bool) -> tuple[Question, Question]:
    """Return two questions that ask the same, or do not."""
    while True:
        first = draw(dice)
        if same:
            return first, first
        for _ in range(_TRIES):
            second = _changed(dice, first)
            if second.key() != first.key():
                return (first, second) if dice.chance(0.5) else (second, first)


def _changed(dice: Dice, question: Question) -> Question:
    fact, asked = question.fact, question.asked
    draw = dice.uniform()
    if draw < 0.2 and asked:
        # "Who chased the cat" becomes "who did the cat chase".
        turned = replace(fact, subject=fact.object, object=fact.subject)
        return Question(turned, "object" if asked == "subject" else "subject")
    fact = inference.spoiled(dice, fact)
    if asked and is_kind(getattr(fact, asked)):
        return question
    return Question(fact, asked)


def answered_pair(dice: Dice, answered: bool) -> tuple[Question, Sentence]:
    """Return a question that asks who, and a sentence which tells it or does not."""
    while True:
        question = draw(dice, asked=dice.pick(("subject", "object")))
        for _ in range(_TRIES):
            sentence = _reply(dice, question, answered)
            if answers(question, sentence) == answered:
                return question, sentence


def answers(question: Question, sentence: Sentence) -> bool:
    """Say whether the sentence names someone of whom the question is true."""
    return bool(answer(question, sentence))


def answer(question: Question, sentence: Sentence) -> str:
    """Return whom the sentence names of whom the question is true, or nothing."""
    for claim in sentence.claims():
        if isinstance(claim.fact, Event) and claim.affirmed and not is_kind(getattr(claim.fact, question.asked)):
            name: str = getattr(claim.fact, question.asked)
            if judge((claim,), Claim(replace(question.fact, **{question.asked: name}))) == "entailment":
                return name
    return ""


def _reply(dice: Dice, question: Question, answered: bool) -> Sentence:
    fact = question.fact
    if answered:
        # Told in passing more often than elsewhere: the main clause is then as often denied as in other replies.
        return inference.told(dice, Claim(inference.specialised(dice, fact)), in_passing=0.6)
    if dice.chance(0.05):
        return inference.told(dice, Claim(fact, affirmed=False))
    fact = inference.spoiled(dice, fact)
    # As closely told as a reply is.
    return inference.told(dice, Claim(inference.specialised(dice, fact) if dice.chance(0.8) else fact), in_passing=0.6)
