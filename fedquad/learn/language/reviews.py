"""Sentences that say whether something was any good, and say it in roundabout ways.

"The film that critics hated was not boring." is positive: the aside is theirs, and a denied fault is praise.
"""

from dataclasses import dataclass

from fedquad.learn.language.dice import Dice

TOPICS = ("film", "story", "plot", "song", "show", "book", "play", "ending")
GOOD = ("good", "brilliant", "funny", "charming", "clever", "lovely", "moving", "fresh")
BAD = ("bad", "dull", "boring", "clumsy", "silly", "awful", "tedious", "stale")
_DEGREES = ("", "", "very ", "really ", "quite ")
_CRITICS = ("critics", "people", "children", "viewers")
LIKED = ("liked", "enjoyed")
DISLIKED = ("disliked", "regretted")


@dataclass(frozen=True, slots=True)
class Review:
    """A verdict on a topic, and, in passing, other people's verdicts that do not count."""

    topic: str
    positive: bool
    aside: bool | None = None
    conceded: bool | None = None


def draw(dice: Dice, positive: bool) -> Review:
    """Return a review with this verdict; the asides know nothing of it."""
    aside = dice.chance(0.5) if dice.chance(0.4) else None
    return Review(dice.pick(TOPICS), positive, aside, (not positive) if dice.chance(0.25) else None)


def write(dice: Dice, review: Review) -> str:
    """Return the review in words of this draw."""
    subject = f"the {review.topic}"
    if review.aside is not None:
        subject += f" that {dice.pick(_CRITICS)} {dice.pick(LIKED if review.aside else DISLIKED)}"
    if review.conceded is None:
        return f"{subject} was {_predicate(dice, review.positive)}."
    other = dice.other(TOPICS, review.topic)
    meant = f"{subject} was {_predicate(dice, review.positive)}"
    granted = f"the {other} was {_predicate(dice, review.conceded)}"
    return f"{granted} but {meant}." if dice.chance(0.5) else f"{meant} although {granted}."


def _predicate(dice: Dice, positive: bool) -> str:
    draw = dice.uniform()
    if draw < 0.75:
        return dice.pick(_DEGREES) + dice.pick(GOOD if positive else BAD)
    opposite = dice.pick(BAD if positive else GOOD)
    if draw < 0.9:
        return f"not {dice.pick(('', 'very ', 'really '))}{opposite}"
    return f"{dice.pick(('hardly', 'barely'))} {opposite}"
