"""What follows from what: the label of an inference pair is computed here, from meanings, never from words.

A claim is a fact, affirmed or denied. "The dog kissed the cat" entails "an animal touched the cat"; "the dog did not
touch an animal" denies that there is any such event, and entails "the dog did not kiss the cat".
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fedquad.learn.mini.language import lexicon

Verdict = Literal["entailment", "neutral", "contradiction"]


@dataclass(frozen=True, slots=True)
class Event:
    """Who did what to whom; a participant is a noun ("dog": the dog) or a kind ("animal": some animal)."""

    subject: str
    verb: str
    object: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Trait:
    """What someone is like."""

    noun: str
    adjective: str


Fact: TypeAlias = Event | Trait


@dataclass(frozen=True, slots=True)
class Claim:
    """A fact, affirmed or denied."""

    fact: Fact
    affirmed: bool = True


def is_kind(participant: str) -> bool:
    """Tell "animal" from "dog"."""
    return participant in lexicon.KINDS


def judge(premise: Iterable[Claim], hypothesis: Claim) -> Verdict:
    """Return the relation of everything that the premise claims to the hypothesis."""
    denied = Claim(hypothesis.fact, not hypothesis.affirmed)
    claims = tuple(premise)
    if any(_entails(claim, hypothesis) for claim in claims):
        return "entailment"
    if any(_entails(claim, denied) for claim in claims):
        return "contradiction"
    return "neutral"


def _entails(claim: Claim, other: Claim) -> bool:
    if claim.affirmed and other.affirmed:
        return _specialises(claim.fact, other.fact)
    if claim.affirmed:
        return _excludes(claim.fact, other.fact)
    # A denial reaches every more special case, and says nothing about what did happen.
    return not other.affirmed and _specialises(other.fact, claim.fact)


def _specialises(fact: Fact, general: Fact) -> bool:
    """Say whether every case of `fact` is a case of `general`."""
    if isinstance(fact, Trait) or isinstance(general, Trait):
        return fact == general
    return (
        _is_a(fact.subject, general.subject)
        and (fact.verb == general.verb or general.verb in lexicon.VERBS[fact.verb].kinds)
        and _is_a(fact.object, general.object)
        and general.place in ("", fact.place)
    )


def _is_a(participant: str, general: str) -> bool:
    return participant == general or lexicon.KIND_OF.get(participant) == general


def _excludes(fact: Fact, other: Fact) -> bool:
    """Say whether both cannot be true: being old and being young, loving someone and hating them."""
    if isinstance(fact, Trait) and isinstance(other, Trait):
        return fact.noun == other.noun and lexicon.ADJECTIVE_OPPOSITE[fact.adjective] == other.adjective
    if isinstance(fact, Trait) or isinstance(other, Trait):
        return False
    same = fact.subject == other.subject and fact.object == other.object
    opposite = lexicon.VERBS[fact.verb].opposite == other.verb
    # "Loved an animal" and "hated an animal" may be two animals.
    return same and opposite and not is_kind(fact.subject) and not is_kind(fact.object)
