"""The embedded backbone: what is in its folder, that it loads without network, and that its recipe runs."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, RobertaForMaskedLM

from fedquad import rng
from fedquad.learn.mini import pretrain
from fedquad.learn.mini.language import corpus
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.recipe import Recipe, Stage
from fedquad.learn.mini.start import build_model, deepen
from fedquad.learn.mini.vocabulary import build_tokenizer, words
from fedquad.learn.source import BACKBONES

FOLDER = BACKBONES / "mini"
SMALL = Recipe(
    stages=(Stage(layers=2, steps=12, learning_rate=1e-3), Stage(layers=4, steps=8, learning_rate=1e-3)), documents=8
)


@pytest.fixture(autouse=True)
def _one_thread() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_folder_is_small_and_holds_nothing_pickled() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".jsonl", ".safetensors", ".md"}
    assert sum(path.stat().st_size for path in files) <= 6e6


def test_the_weights_are_those_that_the_recipe_made() -> None:
    kept = json.loads((FOLDER / "recipe.json").read_text())
    assert hashlib.sha256((FOLDER / "model.safetensors").read_bytes()).hexdigest() == kept["sha256"]
    logged = [json.loads(line) for line in (FOLDER / "training.jsonl").read_text().splitlines()]
    assert [logged[-1]["layers"], logged[-1]["step"]] == [kept["stages"][-1]["layers"], kept["stages"][-1]["steps"]]


def test_the_kept_recipe_is_the_one_in_the_code() -> None:
    kept = json.loads((FOLDER / "recipe.json").read_text())
    stages = tuple(Stage(**stage) for stage in kept.pop("stages"))
    del kept["sha256"]
    assert Recipe(stages=stages, **kept) == Recipe()


def test_it_loads_for_any_number_of_labels_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = AutoModelForSequenceClassification.from_pretrained(FOLDER, num_labels=5, dtype=torch.float32)
    assert model.config.model_type == "roberta"
    assert model.config.num_hidden_layers == 12
    assert 64 <= model.config.hidden_size <= 96
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model(**AutoTokenizer.from_pretrained(FOLDER)("a dog.", "a cat.", return_tensors="pt")).logits.shape == (
        1,
        5,
    )


def test_the_tokenizer_knows_every_word_and_separates_a_pair_as_roberta_does() -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    dice = Dice(rng.stream("test_backbone_mini"))
    texts = [text.replace(corpus.MARK, "") for _ in range(1_000) for text in corpus.document(dice)]
    assert all(tokenizer.unk_token_id not in ids for ids in tokenizer(texts)["input_ids"])
    pair = tokenizer.convert_ids_to_tokens(tokenizer("The cat.", "the dog?")["input_ids"])
    assert pair == ["<s>", "the", "cat", ".", "</s>", "</s>", "the", "dog", "?", "</s>"]


def test_it_answers_questions_about_a_text_it_never_read() -> None:
    """Far above the one in three that naming anyone in the text would give."""
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    model = RobertaForMaskedLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    dice = Dice(rng.stream("test_backbone_mini", "answers"))
    asked = right = 0
    while asked < 100:
        text, question = corpus.document(dice)
        if "?" not in question or question.endswith(f"{corpus.MARK}nobody.") or question.startswith(corpus.MARK):
            continue
        asking, answer = question.split(corpus.MARK)
        inputs = tokenizer(f"{text} {asking}<mask>.", return_tensors="pt")
        place = inputs["input_ids"][0] == tokenizer.mask_token_id
        with torch.no_grad():
            guess = model(**inputs).logits[0, place].argmax()
        right += tokenizer.convert_ids_to_tokens(int(guess)) == words(answer)[0]
        asked += 1
    assert right >= 70


def test_twenty_steps_of_the_recipe_give_the_same_bits_twice(tmp_path: Path) -> None:
    for name in ("first", "second"):
        pretrain.main(tmp_path / name, SMALL)
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second"))
    assert first == second


@pytest.mark.parametrize("above", [3, 2, 0])
def test_a_deeper_network_begins_where_the_shallow_one_ended(above: int) -> None:
    tokenizer = build_tokenizer(["the cat saw the dog."])
    model = build_model(replace(SMALL, stages=(Stage(layers=2, steps=1, learning_rate=1e-3),)), len(tokenizer)).eval()
    inputs = tokenizer("the dog saw the cat.", return_tensors="pt")
    with torch.no_grad():
        before = model(**inputs).logits
        deepen(model, 7, above=above)
        after = model(**inputs).logits
    assert len(model.roberta.encoder.layer) == 7
    torch.testing.assert_close(after, before, rtol=0, atol=1e-2)
