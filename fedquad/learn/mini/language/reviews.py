"""Sentences that say whether something was any good, and say it in roundabout ways.

"The film that critics regretted was not boring." is positive: the aside is theirs, and a denied fault is praise. So is
"viewers who said that the film was boring were wrong."
"""

from dataclasses import dataclass

from fedquad.learn.mini.language.dice import Dice

TOPICS = ("film", "story", "plot", "song", "show", "book", "play", "ending")
GOOD = ("good", "brilliant", "funny", "charming", "clever", "lovely", "moving", "fresh")
BAD = ("bad", "dull", "boring", "clumsy", "silly", "awful", "tedious", "stale")
_DEGREES = ("", "", "very ", "really ", "quite ")
_DENIALS = ("not", "not at all", "never", "hardly", "far from")
_CRITICS = ("critics", "people", "children", "viewers")
LIKED = ("liked", "enjoyed")
DISLIKED = ("disliked", "regretted")


@dataclass(frozen=True, slots=True)
class Review:
    """A verdict on a topic, and, in passing, other people's verdicts that do not count.

    `right` tells whether those who are quoted were; nothing where nobody is.
    """

    topic: str
    positive: bool
    aside: bool | None = None
    conceded: bool | None = None
    right: bool | None = None


def draw(dice: Dice, positive: bool) -> Review:
    """Return a review with this verdict; the asides know nothing of it."""
    aside = dice.chance(0.5) if dice.chance(0.4) else None
    conceded = (not positive) if dice.chance(0.25) else None
    right = dice.chance(0.5) if conceded is None and dice.chance(0.3) else None
    return Review(dice.pick(TOPICS), positive, aside, conceded, right)


def write(dice: Dice, review: Review) -> str:
    """Return the review in words of this draw."""
    subject = f"the {review.topic}"
    if review.aside is not None:
        subject += f" that {dice.pick(_CRITICS)} {dice.pick(LIKED if review.aside else DISLIKED)}"
    if review.right is not None:
        said = f"{subject} was {_predicate(dice, review.positive == review.right)}"
        return f"{dice.pick(_CRITICS)} who said that {said} were {'right' if review.right else 'wrong'}."
    meant = f"{subject} was {_predicate(dice, review.positive)}"
    if review.conceded is None:
        return f"{meant}."
    granted = f"the {dice.other(TOPICS, review.topic)} was {_predicate(dice, review.conceded)}"
    return f"{granted} but {meant}." if dice.chance(0.5) else f"{meant} although {granted}."


def _predicate(dice: Dice, positive: bool) -> str:
    if dice.chance(0.7):
        return dice.pick(_DEGREES) + dice.pick(GOOD if positive else BAD)
    return f"{dice.pick(_DENIALS)} {dice.pick(BAD if positive else GOOD)}"
