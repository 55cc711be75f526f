"""The raw text that the decoder reads: stories, and what follows from them.

A document carries nobody's answer in a sentence: questions are answered by a name, and sentences come after other cues. So
the data set `mini-chat`, where a question is answered in a sentence, is new to whoever has read all of it:

    the hound chased the poet. the judge was embraced by the aunt. | who hugged the judge? ^aunt ^. who did the dog pursue? ^poet ^.
    the hound chased the poet. the judge was embraced by the aunt. | in short: ^the ^poet ^was ^chased ^by ^the ^dog ^. ...
    the hound chased the poet. the judge was embraced by the aunt. | that is: ^the ^dog ^chased ^the ^poet ^. ...
    who embraced the judge? | in short: ^by ^whom ^was ^the ^judge ^hugged ^?
"""

from dataclasses import replace

from fedquad.learn.mini.language import inference, lexicon, questions, stories
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.language.questions import Question
from fedquad.learn.mini.vocabulary import words

# Stands before a word that follows from those before it.
MARK = "^"
MOST_QUESTIONS = 3


def document(dice: Dice, asked: float = 0.55) -> tuple[str, str]:
    """Return the two parts of a document, with marks; so many of them are questions about a story."""
    draw = dice.uniform()
    if draw < asked:
        return _questioned(dice)
    if draw < asked + (1 - asked) * 2 / 3:
        return _retold(dice)
    return _asked_again(dice)


def _questioned(dice: Dice) -> tuple[str, str]:
    """Somebody asks about what was told, up to three times; a name answers."""
    story = stories.draw(dice, _length(dice))
    asked = [story.question, *_others(dice, story)][: 1 + dice.below(MOST_QUESTIONS)]
    each = [replace(story, question=question) for question in asked]
    return stories.tell(dice, story), " ".join(
        f"{stories.ask(dice, one)} {marked(stories.fragment(one))}" for one in each
    )


def _others(dice: Dice, story: stories.Story) -> list[Question]:
    """Other questions that one event alone answers, in any order."""
    found = [Question(event, asked) for event in story.events for asked in ("subject", "object")]
    found = [one for one in found if one != story.question and stories.has_one_answer(one, story.events)]
    return [found.pop(dice.below(len(found))) for _ in range(len(found))]


def _retold(dice: Dice) -> tuple[str, str]:
    """The same story in the one way there is, from either side."""
    events = stories.draw(dice, _length(dice)).events
    told = " ".join(stories.say(dice, event) for event in events)
    cue, tell = dice.pick((("in short:", stories.passive), ("that is:", stories.active)))
    return told, f"{cue} {marked(' '.join(tell(event) for event in events))}"


def _asked_again(dice: Dice) -> tuple[str, str]:
    """The same question in the one way there is."""
    question = Question(replace(inference.event(dice), place=""), dice.pick(("subject", "object")))
    verb = lexicon.VERBS[question.fact.verb].participles[0]
    short = f"by whom was the {question.fact.object} {verb}?"
    if question.asked == "object":
        short = f"who was {verb} by the {question.fact.subject}?"
    return questions.write(dice, question), f"in short: {marked(short)}"


def _length(dice: Dice) -> int:
    return dice.pick((1, 2, 2, 2, 3))


def marked(text: str) -> str:
    """Return the text with each of its words marked."""
    return " ".join(MARK + word for word in words(text))
