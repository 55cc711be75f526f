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
LIKED = ("liked", "enjoyed", "praised")
DISLIKED = ("disliked", "regretted", "mocked")


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
    return Review(dice.pick(TOPICS), positive, aside, (not positive) if dice.chance(0.3) else None)


def write(dice: Dice, review: Review) -> str:
    """Return the review in words of this draw."""
    subject = f"the {review.topic}"
    if review.aside is not None:
        subject += f" that {dice.pick(_CRITICS)} {dice.pick(LIKED if review.aside else DISLIKED)}"
    if review.conceded is None:
        return f"{subject} was {_predicate(dice, review.positive)}."
    other = dice.other(TOPICS, review.topic)
    # What comes after "but" is what is meant; after "although", what comes next is only granted.
    if dice.chance(0.5):
        return f"the {other} was {_predicate(dice, review.conceded)} but {subject} was {_predicate(dice, review.positive)}."
    return f"{subject} was {_predicate(dice, review.positive)} although the {other} was {_predicate(dice, review.conceded)}."


def echo(dice: Dice, review: Review) -> str:
    """Return what a reviewer would go on to say."""
    return f"i {dice.pick(LIKED if review.positive else DISLIKED)} it."


def _predicate(dice: Dice, positive: bool) -> str:
    degree = dice.pick(_DEGREES)
    draw = dice.uniform()
    if draw < 0.7:
        return degree + dice.pick(GOOD if positive else BAD)
    opposite = dice.pick(BAD if positive else GOOD)
    if draw < 0.85:
        return f"not {degree}{opposite}"
    return f"{dice.pick(('hardly', 'barely'))} {opposite}"
