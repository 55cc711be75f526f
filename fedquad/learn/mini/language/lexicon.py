"""The words and what they mean: concepts, their synonyms, what is a kind of what, what excludes what.

`dog` and `hound` are one concept, a kind of `animal`; `kissed` is a kind of `touched`, `bit` of `touched` and of `hurt`;
who `loved` did not `hate`.
"""

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """A verb's forms, one entry a synonym: `bases` after "did", `pasts` alone, `participles` after "was"."""

    bases: tuple[str, ...]
    pasts: tuple[str, ...]
    participles: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    opposite: str = ""


def _regular(*bases: str, kinds: tuple[str, ...] = (), opposite: str = "") -> Verb:
    pasts = tuple(base + ("d" if base.endswith("e") else "ed") for base in bases)
    return Verb(bases=bases, pasts=pasts, participles=pasts, kinds=kinds, opposite=opposite)


KINDS = MappingProxyType(
    {
        "animal": ("dog", "cat", "rabbit", "pig", "horse"),
        "artist": ("singer", "painter", "poet", "dancer", "actor"),
        "official": ("judge", "mayor", "sheriff", "officer", "senator"),
        "relative": ("uncle", "aunt", "cousin", "father", "mother"),
    }
)
NOUNS = tuple(noun for members in KINDS.values() for noun in members)
KIND_OF = MappingProxyType({noun: kind for kind, members in KINDS.items() for noun in members})
_NOUN_SYNONYMS = {
    "dog": ("dog", "hound"),
    "rabbit": ("rabbit", "bunny"),
    "pig": ("pig", "hog"),
    "singer": ("singer", "vocalist"),
    "officer": ("officer", "policeman"),
    "father": ("father", "dad"),
    "mother": ("mother", "mom"),
}
NOUN_WORDS = MappingProxyType({noun: _NOUN_SYNONYMS.get(noun, (noun,)) for noun in NOUNS})
ARTICLED = MappingProxyType({kind: f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}" for kind in KINDS})

VERBS = MappingProxyType(
    {
        "touch": _regular("touch"),
        "push": _regular("push", "shove", kinds=("touch",)),
        "hug": Verb(
            bases=("hug", "embrace"), pasts=("hugged", "embraced"), participles=("hugged", "embraced"), kinds=("touch",)
        ),
        "kiss": _regular("kiss", kinds=("touch",)),
        "hurt": Verb(bases=("hurt",), pasts=("hurt",), participles=("hurt",)),
        "bite": Verb(bases=("bite",), pasts=("bit",), participles=("bitten",), kinds=("hurt", "touch")),
        "kick": _regular("kick", kinds=("hurt", "touch")),
        "punch": _regular("punch", kinds=("hurt", "touch")),
        "love": _regular("love", "adore", opposite="hate"),
        "hate": _regular("hate", "despise", opposite="love"),
        "trust": _regular("trust", opposite="distrust"),
        "distrust": _regular("distrust", opposite="trust"),
        "remember": _regular("remember", opposite="forget"),
        "forget": Verb(bases=("forget",), pasts=("forgot",), participles=("forgotten",), opposite="remember"),
        "chase": _regular("chase", "pursue"),
        "help": _regular("help", "assist"),
        "scare": _regular("scare", "frighten"),
        "call": _regular("call", "phone"),
        "visit": _regular("visit"),
    }
)
VERB_NAMES = tuple(VERBS)
VERB_MEMBERS = MappingProxyType(
    {kind: tuple(name for name in VERBS if kind in VERBS[name].kinds) for kind in ("touch", "hurt")}
)

_ADJECTIVE_PAIRS = (
    (("old",), ("young",)),
    (("rich", "wealthy"), ("poor",)),
    (("happy", "glad"), ("sad", "unhappy")),
    (("tall",), ("short",)),
    (("calm",), ("nervous",)),
    (("sick", "ill"), ("healthy",)),
)
ADJECTIVE_WORDS = MappingProxyType({words[0]: words for pair in _ADJECTIVE_PAIRS for words in pair})
ADJECTIVES = tuple(ADJECTIVE_WORDS)
ADJECTIVE_OPPOSITE = MappingProxyType(
    {side[0]: other[0] for left, right in _ADJECTIVE_PAIRS for side, other in ((left, right), (right, left))}
)

PLACES = MappingProxyType(
    {
        "park": ("in the park",),
        "kitchen": ("in the kitchen",),
        "forest": ("in the forest", "in the woods"),
        "street": ("in the street", "in the road"),
    }
)
PLACE_NAMES = tuple(PLACES)
