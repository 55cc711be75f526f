"""Pairs of sentences whose relation is known: a hypothesis first, then premises drawn until one has that relation.

Hypotheses are drawn without knowing the relation, so that a hypothesis alone tells nothing about it.
"""

from dataclasses import replace

from fedquad.learn.mini.language import lexicon
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.language.grammar import Sentence
from fedquad.learn.mini.language.logic import Claim, Event, Trait, Verdict, is_kind, judge

_TRIES = 60


def pair(dice: Dice, verdict: Verdict, stray: float = 0.3) -> tuple[Sentence, Claim]:
    """Return a premise and a hypothesis with this relation; the more they stray, the less unrelated ones share."""
    while True:
        hypothesis = claim(dice)
        for _ in range(_TRIES):
            premise = _premise(dice, hypothesis, verdict, stray)
            if judge(premise.claims(), hypothesis) == verdict:
                return premise, hypothesis


def claim(dice: Dice) -> Claim:
    """Return what a short sentence could say."""
    affirmed = dice.chance(0.5)
    if dice.chance(0.15):
        return Claim(Trait(dice.pick(lexicon.NOUNS), dice.pick(lexicon.ADJECTIVES)), affirmed)
    fact = event(dice)
    if dice.chance(0.3):
        fact = generalised(dice, fact)
    return Claim(fact, affirmed)


def event(dice: Dice) -> Event:
    """Return an event between two who are named."""
    subject = dice.pick(lexicon.NOUNS)
    verb = dice.pick(lexicon.VERB_NAMES)
    place = dice.pick(lexicon.PLACE_NAMES) if dice.chance(0.2) else ""
    return Event(subject, verb, dice.other(lexicon.NOUNS, subject), place)


def sentence(dice: Dice) -> Sentence:
    """Return any sentence, with what it says in passing."""
    return told(dice, claim(dice))


def told(dice: Dice, main: Claim, in_passing: float = 0.35) -> Sentence:
    """Return a consistent sentence that claims this, as its main claim or in passing."""
    while True:
        fact = main.fact
        if isinstance(fact, Event) and main.affirmed and _is_named(fact) and not fact.place and dice.chance(in_passing):
            drawn = Sentence(main=_elsewhere(dice, dice.pick((fact.subject, fact.object))), aside=fact)
        else:
            drawn = _decorated(dice, main)
        if _is_consistent(drawn):
            return drawn


def _is_named(fact: Event) -> bool:
    return not is_kind(fact.subject) and not is_kind(fact.object)


def _is_consistent(sentence: Sentence) -> bool:
    """Refuse "the dog that kissed the cat did not touch the cat"."""
    return sentence.aside is None or judge((Claim(sentence.aside),), sentence.main) == "neutral"


def _premise(dice: Dice, hypothesis: Claim, verdict: Verdict, stray: float) -> Sentence:
    fact = hypothesis.fact
    if isinstance(fact, Trait):
        return _premise_with_trait(dice, fact, verdict)
    affirmed = hypothesis.affirmed if verdict == "entailment" else not hypothesis.affirmed
    if verdict == "neutral":
        affirmed = dice.chance(0.5)
        fact = spoiled(dice, fact, stray)
        if dice.chance(0.5):
            fact = specialised(dice, fact) if affirmed else generalised(dice, fact)
    elif (opposite := lexicon.VERBS[fact.verb].opposite) and affirmed != (verdict == "entailment") and dice.chance(0.6):
        affirmed, fact = True, replace(fact, verb=opposite)
    else:
        fact = specialised(dice, fact) if affirmed else generalised(dice, fact)
    return told(dice, Claim(fact, affirmed))


def _premise_with_trait(dice: Dice, trait: Trait, verdict: Verdict) -> Sentence:
    told = trait
    if verdict == "neutral" and dice.chance(0.5):
        told = replace(trait, adjective=dice.pick(lexicon.ADJECTIVES))
    elif dice.chance(0.5):
        told = replace(trait, adjective=lexicon.ADJECTIVE_OPPOSITE[trait.adjective])
    bystander = dice.other(lexicon.NOUNS, trait.noun)
    if verdict == "neutral" and dice.chance(0.7):
        told = replace(told, noun=bystander)
    pairing = (trait.noun, bystander) if dice.chance(0.5) else (bystander, trait.noun)
    return Sentence(
        main=Claim(replace(event(dice), subject=pairing[0], object=pairing[1]), dice.chance(0.5)), trait=told
    )


def specialised(dice: Dice, fact: Event) -> Event:
    """Return a case of the event: the dog for an animal, kissed for touched, in the park for anywhere."""
    if is_kind(fact.subject) and dice.chance(0.6):
        fact = replace(fact, subject=dice.other(lexicon.KINDS[fact.subject], fact.object))
    if is_kind(fact.object) and dice.chance(0.6):
        fact = replace(fact, object=dice.other(lexicon.KINDS[fact.object], fact.subject))
    if fact.verb in lexicon.VERB_MEMBERS and dice.chance(0.5):
        fact = replace(fact, verb=dice.pick(lexicon.VERB_MEMBERS[fact.verb]))
    if not fact.place and dice.chance(0.25):
        fact = replace(fact, place=dice.pick(lexicon.PLACE_NAMES))
    return fact


def generalised(dice: Dice, fact: Event) -> Event:
    """Return what the event is a case of; one participant at most becomes a kind."""
    if not is_kind(fact.subject) and not is_kind(fact.object) and dice.chance(0.5):
        if dice.chance(0.5):
            fact = replace(fact, subject=lexicon.KIND_OF[fact.subject])
        else:
            fact = replace(fact, object=lexicon.KIND_OF[fact.object])
    if (kinds := lexicon.VERBS[fact.verb].kinds) and dice.chance(0.4):
        fact = replace(fact, verb=dice.pick(kinds))
    return replace(fact, place="") if dice.chance(0.5) else fact


def spoiled(dice: Dice, fact: Event, stray: float = 0.4) -> Event:
    """Return another event of much the same words; `stray` is the chance of each further change."""
    fact = _spoiled_once(dice, fact)
    while dice.chance(stray):
        fact = _spoiled_once(dice, fact)
    return fact


def _spoiled_once(dice: Dice, fact: Event) -> Event:
    draw = dice.uniform()
    if draw < 0.4:
        return replace(fact, subject=fact.object, object=fact.subject)
    if draw < 0.6:
        return replace(fact, verb=_another_verb(dice, fact.verb))
    if draw < 0.7 and not is_kind(fact.subject):
        return replace(fact, subject=_another(dice, fact))
    if draw < 0.8 and not is_kind(fact.object):
        return replace(fact, object=_another(dice, fact))
    # The same event, told more or less closely than the hypothesis needs.
    return generalised(dice, fact) if dice.chance(0.5) else specialised(dice, fact)


def _another_verb(dice: Dice, verb: str) -> str:
    # Never the opposite: whether who "did not remember" has "forgotten" is no question of logic.
    while (other := dice.other(lexicon.VERB_NAMES, verb)) == lexicon.VERBS[verb].opposite:
        pass
    return other


def _another(dice: Dice, fact: Event) -> str:
    while (noun := dice.pick(lexicon.NOUNS)) in (fact.subject, fact.object):
        pass
    return noun


def _elsewhere(dice: Dice, about: str) -> Claim:
    """Return a claim with this participant first in the sentence or last, to hang a relative clause on."""
    return Claim(replace(_about(dice, event(dice), about), place=""), dice.chance(0.5))


def _about(dice: Dice, fact: Event, noun: str) -> Event:
    other = dice.other(lexicon.NOUNS, noun)
    return replace(fact, subject=noun, object=other) if dice.chance(0.5) else replace(fact, subject=other, object=noun)


def _decorated(dice: Dice, main: Claim) -> Sentence:
    """Return the claim in a sentence that may say more, about its own participants."""
    fact = main.fact
    if isinstance(fact, Trait):
        return Sentence(main=main)
    named = tuple(name for name in (fact.subject, fact.object) if not is_kind(name))
    trait = Trait(dice.pick(named), dice.pick(lexicon.ADJECTIVES)) if dice.chance(0.25) else None
    aside = None
    # A sentence has a relative clause or a place: with both, pairs would not fit 32 tokens.
    if not fact.place and dice.chance(0.3):
        aside = replace(_about(dice, event(dice), dice.pick(named)), place="")
    return Sentence(main=main, trait=trait, aside=aside)
