"""How much two events have in common, from 0 to 5: who did it, what was done, to whom.

5.0   the dog kissed the cat.     the cat was kissed by the hound.
4.0   the dog kissed the cat.     the dog touched the cat.
3.0   the dog kissed the cat.     the cat kissed the dog.
2.0   the dog kissed the cat.     the mayor kissed the judge.
"""

from dataclasses import replace

from fedquad.learn.mini.language import inference, lexicon
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.language.logic import Event

GREATEST = 5.0
_DEED, _KINDRED, _SAME_PLACE, _OTHER_PLACE = 2.0, 1.0, 1.5, 0.5


def grade(one: Event, other: Event) -> float:
    """Points for the deed, and for each who takes part in both: more for the same part in it."""
    points = 0.0
    if one.verb == other.verb:
        points += _DEED
    elif one.verb in lexicon.VERBS[other.verb].kinds or other.verb in lexicon.VERBS[one.verb].kinds:
        points += _KINDRED
    for mine, same, swapped in ((one.subject, other.subject, other.object), (one.object, other.object, other.subject)):
        points += _SAME_PLACE if mine == same else _OTHER_PLACE if mine == swapped else 0.0
    return points


def pair(dice: Dice) -> tuple[Event, Event]:
    """Two events, the second made of the first by as many changes as chance has it; neither says where."""
    one, fresh = (replace(inference.event(dice), place="") for _ in range(2))
    other = replace(one, subject=one.object, object=one.subject) if dice.chance(0.2) else one
    if dice.chance(0.35):
        kindred = lexicon.VERBS[one.verb].kinds
        other = replace(other, verb=dice.pick(kindred) if kindred and dice.chance(0.6) else fresh.verb)
    if dice.chance(0.35) and fresh.subject != other.object:
        other = replace(other, subject=fresh.subject)
    if dice.chance(0.35) and fresh.object != other.subject:
        other = replace(other, object=fresh.object)
    return (one, other) if dice.chance(0.5) else (other, one)
