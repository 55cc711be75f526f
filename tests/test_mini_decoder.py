"""The embedded decoder and its task: what is in the folder, what it never read, that its recipe runs and its chats are sound."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from fedquad import rng
from fedquad.learn.datasets import mini_chat
from fedquad.learn.mini.decoder import corpus, pretrain
from fedquad.learn.mini.decoder.reader import Reader
from fedquad.learn.mini.decoder.recipe import Recipe, Stage
from fedquad.learn.mini.decoder.start import build_model, deepen
from fedquad.learn.mini.decoder.vocabulary import build_tokenizer
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.vocabulary import words
from fedquad.learn.source import BACKBONES, locate
from fedquad.learn.tables import Request

FOLDER = BACKBONES / "mini-decoder"
SMALL = Recipe(
    stages=(Stage(layers=2, steps=6, learning_rate=1e-3), Stage(layers=4, steps=4, learning_rate=1e-3)), documents=8
)


@pytest.fixture(autouse=True)
def _one_thread() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_folder_is_small_and_holds_nothing_pickled() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".jsonl", ".safetensors", ".md", ".jinja"}
    assert sum(path.stat().st_size for path in files) <= 6e6


def test_the_weights_are_those_that_the_kept_recipe_made_which_is_the_one_in_the_code() -> None:
    kept = json.loads((FOLDER / "recipe.json").read_text())
    assert hashlib.sha256((FOLDER / "model.safetensors").read_bytes()).hexdigest() == kept.pop("sha256")
    logged = [json.loads(line) for line in (FOLDER / "training.jsonl").read_text().splitlines()]
    assert [logged[-1]["layers"], logged[-1]["step"]] == [kept["stages"][-1]["layers"], kept["stages"][-1]["steps"]]
    assert Recipe(stages=tuple(Stage(**stage) for stage in kept.pop("stages")), **kept) == Recipe()


def test_it_is_a_llama_of_12_layers_whose_head_is_its_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = AutoModelForCausalLM.from_pretrained(locate("mini-decoder"), dtype=torch.float32)
    assert (model.config.model_type, model.config.num_hidden_layers) == ("llama", 12)
    assert model.config.num_key_value_heads < model.config.num_attention_heads
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_the_tokenizer_knows_every_word_and_a_chat_reads_as_its_template_says() -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    table = mini_chat.load(Request(split="train", size=500))
    dice = Dice(rng.stream("test_mini_decoder"))
    texts = [text.replace(corpus.MARK, "") for _ in range(500) for text in corpus.document(dice)]
    for each in (*table.columns.values(), texts):
        assert all(tokenizer.unk_token_id not in ids for ids in tokenizer(list(each))["input_ids"])
    said = [{"role": "user", "content": "who?"}, {"role": "assistant", "content": "the dog."}]
    assert tokenizer.apply_chat_template(said, tokenize=False) == "<s>who?<turn>the dog.</s>"
    assert tokenizer.apply_chat_template(said[:1], tokenize=False, add_generation_prompt=True) == "<s>who?<turn>"


def test_no_document_has_a_turn_after_a_question_about_a_story_or_answers_one_in_a_sentence() -> None:
    """A turn stands after a question alone where that is all that was said, and is asked again in short."""
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    asked, turn, the, told, cue = tokenizer.convert_tokens_to_ids(["?", "<turn>", "the", ".", "in"])
    read, questions = Reader(Recipe(documents=64), tokenizer, 0).batches(), 0
    for _ in range(32):
        tokens = next(read).tokens
        rows, places = (tokens[:, :-1] == asked).nonzero(as_tuple=True)
        following = tokens[rows, places + 1]
        assert not (following == the).any()
        for row, place in zip(rows[following == turn], places[following == turn]):
            assert told not in tokens[row, :place]
            assert tokens[row, place + 2] == cue
        questions += len(rows)
    assert questions > 1000


def test_it_names_whom_a_question_is_after_in_stories_it_never_read() -> None:
    """Far above the one in four that naming anyone in the story would give."""
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    dice = Dice(rng.stream("test_mini_decoder", "answers"))
    asked = right = 0
    while asked < 100:
        story, more = corpus.document(dice)
        if "?" not in more:
            continue
        question, answer = more.split(corpus.MARK)[:2]
        inputs = tokenizer(f"<s>{story} {question}", return_tensors="pt", add_special_tokens=False)
        with torch.no_grad():
            guess = int(model(input_ids=inputs.input_ids).logits[0, -1].argmax())
        right += tokenizer.convert_ids_to_tokens(guess) == words(answer)[0]
        asked += 1
    assert right >= 70


def test_ten_steps_of_the_recipe_give_the_same_bits_twice(tmp_path: Path) -> None:
    for name in ("first", "second"):
        pretrain.main(tmp_path / name, SMALL)
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second"))
    assert first == second


def test_a_deeper_network_begins_where_the_shallow_one_ended() -> None:
    tokenizer = build_tokenizer(["the cat saw the dog."])
    model = build_model(replace(SMALL, stages=(Stage(layers=2, steps=1, learning_rate=1e-3),)), len(tokenizer)).eval()
    ids = tokenizer("the dog saw the cat.", return_tensors="pt").input_ids
    with torch.no_grad():
        before = model(input_ids=ids).logits
        deepen(model, 7)
        after = model(input_ids=ids).logits
    assert len(model.model.layers) == model.config.num_hidden_layers == 7
    assert torch.equal(after, before)


def test_each_chat_asks_of_one_of_its_events_and_answers_with_both_who_took_part() -> None:
    each = {split: mini_chat.load(Request(split=split, size=400)) for split in ("train", "test")}
    assert each["train"] == mini_chat.load(Request(split="train", size=400))
    rows = {split: set(zip(*table.columns.values())) for split, table in each.items()}
    assert not rows["train"] & rows["test"]
    firsts = 0
    for prompt, answer in rows["train"]:
        *told, question = prompt.replace("?", ".").rstrip(".").split(". ")
        assert len(told) == mini_chat.EVENTS
        assert question.startswith(("who ", "by whom "))
        said = words(answer)
        assert (said[0], said[2], said[4:6], said[7]) == ("the", "was", ["by", "the"], ".")
        firsts += said[1] in words(told[0]) or said[6] in words(told[0])
    assert 100 < firsts < 300  # neither event can be left unread
