"""What follows from what in the small language, against judgements made by hand, and what logic promises."""

import re
from collections import Counter
from importlib import import_module

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedquad import rng
from fedquad.learn.mini.language import corpus, grammar, inference, lexicon, questions, reviews
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.language.grammar import Sentence
from fedquad.learn.mini.language.logic import Claim, Event, Trait, Verdict, judge
from fedquad.learn.mini.language.questions import Question
from fedquad.learn.mini.vocabulary import words
from fedquad.learn.tables import TextTask

VERDICTS: tuple[Verdict, ...] = ("entailment", "neutral", "contradiction")
KISSED = Claim(Event("dog", "kiss", "cat", "park"))

HAND_MADE: list[tuple[str, Claim, Claim, Verdict]] = [
    ("a place may be left out", KISSED, Claim(Event("dog", "kiss", "cat")), "entailment"),
    ("a place may not be added", Claim(Event("dog", "kiss", "cat")), KISSED, "neutral"),
    ("kissing is touching", KISSED, Claim(Event("dog", "touch", "cat")), "entailment"),
    ("kicking is touching", Claim(Event("dog", "kick", "cat")), Claim(Event("dog", "touch", "cat")), "entailment"),
    ("kicking hurts", Claim(Event("dog", "kick", "cat")), Claim(Event("dog", "hurt", "cat")), "entailment"),
    (
        "no touch, yet a bite",
        Claim(Event("dog", "touch", "cat"), False),
        Claim(Event("dog", "bite", "cat")),
        "contradiction",
    ),
    (
        "hurting need not be touching",
        Claim(Event("dog", "hurt", "cat")),
        Claim(Event("dog", "touch", "cat")),
        "neutral",
    ),
    (
        "touching need not be kissing",
        Claim(Event("dog", "touch", "cat")),
        Claim(Event("dog", "kiss", "cat")),
        "neutral",
    ),
    ("a dog is an animal", KISSED, Claim(Event("animal", "kiss", "cat")), "entailment"),
    ("an animal need not be the dog", Claim(Event("animal", "kiss", "cat")), KISSED, "neutral"),
    ("who kissed was not kissed back", KISSED, Claim(Event("cat", "kiss", "dog")), "neutral"),
    ("denied outright", KISSED, Claim(Event("dog", "kiss", "cat"), False), "contradiction"),
    (
        "no touch, no kiss",
        Claim(Event("dog", "touch", "animal"), False),
        Claim(Event("dog", "kiss", "cat"), False),
        "entailment",
    ),
    ("no touch, yet a kiss", Claim(Event("dog", "touch", "animal"), False), KISSED, "contradiction"),
    (
        "no kiss, perhaps a touch",
        Claim(Event("dog", "kiss", "cat"), False),
        Claim(Event("dog", "touch", "cat")),
        "neutral",
    ),
    (
        "not in the park",
        Claim(Event("dog", "kiss", "cat", "park"), False),
        Claim(Event("dog", "kiss", "cat")),
        "neutral",
    ),
    (
        "who loves does not hate",
        Claim(Event("dog", "love", "cat")),
        Claim(Event("dog", "hate", "cat"), False),
        "entailment",
    ),
    (
        "who does not hate need not love",
        Claim(Event("dog", "hate", "cat"), False),
        Claim(Event("dog", "love", "cat")),
        "neutral",
    ),
    (
        "love one animal, hate another",
        Claim(Event("dog", "love", "animal")),
        Claim(Event("dog", "hate", "animal")),
        "neutral",
    ),
    ("the old are not young", Claim(Trait("dog", "old")), Claim(Trait("dog", "young")), "contradiction"),
    (
        "the old are not young, put kindly",
        Claim(Trait("dog", "old")),
        Claim(Trait("dog", "young"), False),
        "entailment",
    ),
    ("someone else is old", Claim(Trait("dog", "old")), Claim(Trait("cat", "old")), "neutral"),
]


def dice(*key: int | str) -> Dice:
    return Dice(rng.stream("test_mini_language", *key))


def claims() -> st.SearchStrategy[Claim]:
    return st.integers(0, 2**20).map(lambda seed: inference.claim(dice(seed)))


@pytest.mark.parametrize(
    ("premise", "hypothesis", "verdict"), [case[1:] for case in HAND_MADE], ids=[case[0] for case in HAND_MADE]
)
def test_the_logic_agrees_with_a_reader(premise: Claim, hypothesis: Claim, verdict: Verdict) -> None:
    assert judge([premise], hypothesis) == verdict


@given(claims())
def test_a_claim_entails_itself_and_contradicts_its_denial(claim: Claim) -> None:
    assert judge([claim], claim) == "entailment"
    assert judge([claim], Claim(claim.fact, not claim.affirmed)) == "contradiction"


@given(claims(), st.integers(0, 2**20))
def test_entailment_turned_round_is_entailment_between_the_denials(claim: Claim, seed: int) -> None:
    premise, hypothesis = inference.pair(dice(seed), "entailment")
    if premise.claims() == (premise.main,):
        denials = [Claim(side.fact, not side.affirmed) for side in (hypothesis, premise.main)]
        assert judge([denials[0]], denials[1]) == "entailment"


@given(st.integers(0, 2**20))
def test_contradiction_goes_both_ways(seed: int) -> None:
    premise, hypothesis = inference.pair(dice(seed), "contradiction")
    if premise.claims() == (premise.main,):
        assert judge([hypothesis], premise.main) == "contradiction"


@given(st.integers(0, 2**20), st.sampled_from(VERDICTS))
def test_a_drawn_pair_has_the_relation_that_was_asked_for(seed: int, verdict: Verdict) -> None:
    premise, hypothesis = inference.pair(dice(seed), verdict)
    assert judge(premise.claims(), hypothesis) == verdict


def test_no_pair_asks_whether_who_did_not_remember_forgot() -> None:
    fact = Event("dog", "remember", "cat")
    assert "forget" not in {inference.spoiled(dice(seed), fact).verb for seed in range(1_000)}


@pytest.mark.parametrize(
    ("sentence", "positive"),
    [
        ("the song was far from tedious.", True),
        ("the song was never funny although the plot was fresh.", False),
        ("the plot was not at all moving but the song that people regretted was quite good.", True),
        ("critics who said that the song that viewers liked was hardly dull were wrong.", False),
    ],
)
def test_the_reader_of_reviews_reads_as_we_do(sentence: str, positive: bool) -> None:
    assert praises(sentence) == positive


@given(st.integers(0, 2**20), st.booleans())
def test_a_review_says_what_it_was_to_say(seed: int, positive: bool) -> None:
    assert praises(reviews.write(dice(seed), reviews.draw(dice(seed, "review"), positive))) == positive


def praises(sentence: str) -> bool:
    """Read a review as a person would: the main clause, what it denies, and whether who is quoted was right."""
    told = sentence.removesuffix(".")
    if quoted := re.fullmatch(r"\w+ who said that (.+) were (right|wrong)", told):
        return praises(quoted[1]) == (quoted[2] == "right")
    main = told.split(" but ")[-1].split(" although ")[0]
    _, predicate = main.split(" was ")
    denied = re.match(r"not |never |hardly |far from ", predicate)
    return (predicate.split()[-1] in reviews.GOOD) != bool(denied)


@given(st.integers(0, 2**20))
def test_nobody_does_anything_to_themselves(seed: int) -> None:
    premise, _ = inference.pair(dice(seed), VERDICTS[seed % 3])
    for claim in premise.claims():
        if isinstance(claim.fact, Event):
            assert claim.fact.subject != claim.fact.object


@given(st.integers(0, 2**20), st.booleans())
def test_questions_ask_the_same_exactly_when_they_should(seed: int, same: bool) -> None:
    first, second = questions.pair(dice(seed), same)
    assert (first.key() == second.key()) == same


def test_an_answer_names_someone_and_a_kind_is_no_name() -> None:
    who = Question(Event("dog", "chase", "cat"), "subject")
    assert questions.answers(who, Sentence(main=Claim(Event("poet", "chase", "cat", "park"))))
    assert questions.answers(
        who, Sentence(main=Claim(Event("cat", "hug", "pig"), False), aside=Event("poet", "chase", "cat"))
    )
    assert not questions.answers(who, Sentence(main=Claim(Event("animal", "chase", "cat"))))
    assert not questions.answers(who, Sentence(main=Claim(Event("poet", "chase", "cat"), False)))
    assert not questions.answers(who, Sentence(main=Claim(Event("cat", "chase", "poet"))))


@settings(deadline=None)
@given(st.integers(0, 2**20))
def test_both_voices_say_the_same_in_grammatical_words(seed: int) -> None:
    texts = {
        grammar.write(dice(seed, draw), Sentence(main=Claim(Event("cat", "bite", "poet"), False))) for draw in range(20)
    }
    assert texts == {"the cat did not bite the poet.", "the poet was not bitten by the cat."}


def test_a_word_means_one_thing() -> None:
    verbs = [set(verb.bases) | set(verb.pasts) | set(verb.participles) for verb in lexicon.VERBS.values()]
    groups = [
        *verbs,
        *lexicon.NOUN_WORDS.values(),
        *lexicon.ADJECTIVE_WORDS.values(),
        lexicon.KINDS,
        reviews.GOOD,
        reviews.BAD,
    ]
    counts = Counter(word for group in groups for word in set(group))
    assert {word for word, count in counts.items() if count > 1} == set()


def test_every_pair_fits_32_tokens_and_every_document_the_backbone() -> None:
    draw = dice("lengths")
    for index in range(3_000):
        premise, hypothesis = inference.pair(draw, VERDICTS[index % 3])
        pair = grammar.write(draw, premise), grammar.write(draw, Sentence(main=hypothesis))
        assert len(words(pair[0])) + len(words(pair[1])) + 4 <= 32, pair
        assert sum(len(words(text)) for text in corpus.document(draw)) + 4 <= 64


def test_the_corpus_holds_no_label_of_a_task() -> None:
    draw = dice("labels")
    read = {word for _ in range(2_000) for text in corpus.document(draw) for word in words(text)}
    labels = {label for name in ("nli", "qqp", "qnli", "sst2") for label in _labels(name)}
    assert not read & labels


def _labels(name: str) -> tuple[str, ...]:
    task: TextTask = import_module(f"fedquad.learn.datasets.mini_{name}").TASK
    return task.labels
