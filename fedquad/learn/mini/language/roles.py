"""Who did it, to whom, and where, as a tag a word: `B-agent I-agent O O B-patient I-patient O`.

    the hound was shoved by the old aunt in the woods .
    patient   ~~~~~~~~~      agent ~~~~~~~~~~~   place ~~~~~~~~~~~~

What is told in passing has no tag, so that whoever tags the first name after "by" tags the wrong one.
"""

from fedquad.learn.mini.language import grammar, inference, lexicon
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.language.grammar import Sentence
from fedquad.learn.mini.language.logic import Claim, Event
from fedquad.learn.mini.vocabulary import words

TAGS = ("O", "B-agent", "I-agent", "B-patient", "I-patient", "B-place", "I-place")
_CONCEPTS = {word: noun for noun, each in lexicon.NOUN_WORDS.items() for word in each}
_PLACES = {tuple(phrase.split()) for phrases in lexicon.PLACES.values() for phrase in phrases}


def draw(dice: Dice) -> tuple[str, str]:
    """Return a sentence, its words apart, and its tags."""
    while True:
        sentence = inference.told(dice, Claim(inference.event(dice), dice.chance(0.7)))
        fact = sentence.main.fact
        said = words(grammar.write(dice, sentence))
        named = [_CONCEPTS[word] for word in said if word in _CONCEPTS]
        if isinstance(fact, Event) and len(set(named)) == len(named):  # nobody is named twice
            return " ".join(said), " ".join(tags(said, fact, sentence))


def tags(said: list[str], fact: Event, sentence: Sentence) -> list[str]:
    """The tag of each word of a sentence."""
    found = ["O"] * len(said)
    for at, word in enumerate(said):
        role = {fact.subject: "agent", fact.object: "patient"}.get(_CONCEPTS.get(word, ""))
        if role:
            begin = max(place for place in range(at) if said[place] == "the")
            found[begin : at + 1] = [f"B-{role}", *[f"I-{role}"] * (at - begin)]
        if tuple(said[at : at + 3]) in _PLACES and fact.place:
            found[at : at + 3] = ["B-place", "I-place", "I-place"]
    return found
