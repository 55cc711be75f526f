"""From meanings to sentences: synonyms, voice and modifiers are drawn here, and never change what is claimed.

>>> sentence(Dice(...), Sentence(main=Claim(Event("dog", "chase", "cat"))))
'the cat was pursued by the hound.'
"""

from dataclasses import dataclass

from fedquad.learn.mini.language import lexicon
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.language.logic import Claim, Event, Trait, is_kind


@dataclass(frozen=True, slots=True)
class Sentence:
    """A main claim, and what is said in passing: a trait of one participant, and an event told in a relative clause."""

    main: Claim
    trait: Trait | None = None
    aside: Event | None = None

    def claims(self) -> tuple[Claim, ...]:
        said = [self.main]
        if self.trait:
            said.append(Claim(self.trait))
        if self.aside:
            said.append(Claim(self.aside))
        return tuple(said)


def write(dice: Dice, sentence: Sentence) -> str:
    """Return the sentence in words of this draw."""
    return statement(dice, sentence) + "."


def statement(dice: Dice, sentence: Sentence) -> str:
    """Return the sentence without its full stop."""
    fact, affirmed = sentence.main.fact, sentence.main.affirmed
    if isinstance(fact, Trait):
        adjective = dice.pick(lexicon.ADJECTIVE_WORDS[fact.adjective])
        return f"{participant(dice, fact.noun)} was {'' if affirmed else 'not '}{adjective}"
    first, predicate, second = _clause(dice, fact, affirmed, _speaks_passively(dice, fact, sentence.aside))
    subject = participant(dice, first, sentence.trait)
    if sentence.aside:
        subject += " " + _relative(dice, sentence.aside, first)
    text = f"{subject} {predicate} {participant(dice, second, sentence.trait)}"
    return f"{text} {place(dice, fact)}" if fact.place else text


def _speaks_passively(dice: Dice, fact: Event, aside: Event | None) -> bool:
    """Draw the voice; "an animal" stands after the verb, where "did not touch an animal" can mean only one thing."""
    if is_kind(fact.subject):
        return True
    if aside:
        # Whoever the relative clause is about comes first: at the end, it would take the place for its own.
        return fact.subject not in (aside.subject, aside.object)
    return not is_kind(fact.object) and dice.chance(0.4)


def participant(dice: Dice, name: str, trait: Trait | None = None) -> str:
    """Return "the old hound", or "an animal"."""
    if is_kind(name):
        return lexicon.ARTICLED[name]
    noun = dice.pick(lexicon.NOUN_WORDS[name])
    if trait and trait.noun == name:
        return f"the {dice.pick(lexicon.ADJECTIVE_WORDS[trait.adjective])} {noun}"
    return f"the {noun}"


def place(dice: Dice, fact: Event) -> str:
    """Return where it happened, in words."""
    return dice.pick(lexicon.PLACES[fact.place])


def _clause(dice: Dice, fact: Event, affirmed: bool, passive: bool) -> tuple[str, str, str]:
    """Return who comes first, the verb's words, and who comes last."""
    verb = lexicon.VERBS[fact.verb]
    if passive:
        return fact.object, f"was {'' if affirmed else 'not '}{dice.pick(verb.participles)} by", fact.subject
    words = dice.pick(verb.pasts) if affirmed else f"did not {dice.pick(verb.bases)}"
    return fact.subject, words, fact.object


def _relative(dice: Dice, fact: Event, about: str) -> str:
    _, words, other = _clause(dice, fact, affirmed=True, passive=fact.object == about)
    return f"that {words} {participant(dice, other)}"
