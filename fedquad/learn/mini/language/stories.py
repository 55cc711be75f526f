"""Short stories in the small language, and questions about them that have one answer.

    story     the hound chased the poet. the judge was embraced by the aunt in the park.
    question  by whom was the judge hugged?
    answer    the judge was hugged by the aunt.

Events of a story share people and deeds on purpose: who answers from one word alone, answers for the wrong event.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fedquad.learn.mini.language import grammar, inference, lexicon, questions
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.language.grammar import Sentence
from fedquad.learn.mini.language.logic import Claim, Event
from fedquad.learn.mini.language.questions import Question


@dataclass(frozen=True, slots=True)
class Story:
    """What happened, in order, and what is asked of one of the events."""

    events: tuple[Event, ...]
    question: Question


def draw(dice: Dice, length: int) -> Story:
    """Return a story of so many events with a question that only one of them answers."""
    while True:
        events = [inference.event(dice)]
        while len(events) < length:
            events.append(_alike(dice, dice.pick(events)))
        question = Question(dice.pick(events), dice.pick(("subject", "object")))
        if has_one_answer(question, events):
            return Story(tuple(events), question)


def has_one_answer(question: Question, events: Sequence[Event]) -> bool:
    """Whether only one of the events could be meant by the question."""
    return sum(_answers(question, event) for event in events) == 1


def _alike(dice: Dice, event: Event) -> Event:
    """Another event, which may have somebody or something in common with this one."""
    other, shared = inference.event(dice), dice.uniform()
    if shared < 0.3:
        return replace(other, verb=event.verb)
    if shared < 0.5 and other.object != event.subject:
        return replace(other, subject=event.subject)
    if shared < 0.7 and other.subject != event.object:
        return replace(other, object=event.object)
    return other


def _answers(question: Question, event: Event) -> bool:
    """Whether the event is one that the question could be about: a case of its deed, with the one it names."""
    named = "object" if question.asked == "subject" else "subject"
    is_deed = event.verb == question.fact.verb or question.fact.verb in lexicon.VERBS[event.verb].kinds
    return is_deed and getattr(event, named) == getattr(question.fact, named)


def tell(dice: Dice, story: Story) -> str:
    """Return the story in words of this draw."""
    return " ".join(say(dice, event) for event in story.events)


def say(dice: Dice, event: Event) -> str:
    """Return one event as a sentence of this draw."""
    return grammar.write(dice, Sentence(main=Claim(event)))


def ask(dice: Dice, story: Story) -> str:
    """Return the question in words of this draw; where it happened is not asked after."""
    return questions.write(dice, replace(story.question, fact=replace(story.question.fact, place="")))


def passive(event: Event) -> str:
    """Return the event from its object's side, each word the first of its synonyms, its place left out."""
    return f"the {event.object} was {lexicon.VERBS[event.verb].participles[0]} by the {event.subject}."


def active(event: Event) -> str:
    """Return the event from its subject's side, each word the first of its synonyms, its place left out."""
    return f"the {event.subject} {lexicon.VERBS[event.verb].pasts[0]} the {event.object}."


def reply(story: Story) -> str:
    """Return the whole answer, in the one way there is: that of `passive`."""
    return passive(story.question.fact)


def fragment(story: Story) -> str:
    """Return whom the question is after, and no more."""
    return f"{getattr(story.question.fact, story.question.asked)}."
