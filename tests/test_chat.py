"""docs/chat.md works as written, and its adapter answers through `generate` as often right as its campaign says."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_chat
from test_readme import ROOT, commands, run

from fedquad.learn import tokens
from fedquad.spec import DataSpec, ModelSpec

TEXT = (ROOT / "docs" / "chat.md").read_text(encoding="utf-8")
SIZES = {"train": 144, "validation": 24, "test": 60}


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


def write(folder: Path) -> None:
    """What a reader has: a model, conversations as the page shows them, and its campaign file."""
    tiny_chat.write_qwen(folder / "my-qwen")
    tiny_chat.write_chats(folder / "chats", SIZES)
    (folder / "chat.yaml").write_text(blocks("yaml")[0])


def test_both_kinds_of_rows_that_the_page_shows_become_the_same_tokens(tmp_path: Path) -> None:
    model = ModelSpec(name=str(tiny_chat.write_qwen(tmp_path / "my-qwen")), max_length=40)
    columns: list[dict[str, Any]] = [
        {"messages_column": "messages"},
        {"prompt_column": "question", "answer_column": "answer"},
    ]
    found = []
    for number, (line, named) in enumerate(zip(blocks("json"), columns)):
        source = tmp_path / str(number)
        source.mkdir()
        for split in ("train", "validation", "test"):
            (source / f"{split}.jsonl").write_text(line)
        made = tokens.prepare(DataSpec(name="chats", source=str(source), **named), model, 0, tmp_path / "cache")
        found.append(tokens.read(Path(made["splits"]["test"]["path"])))
    assert (found[0].input_ids == found[1].input_ids).all()
    assert (found[0].labels == found[1].labels).all()
    assert 0 < found[0].answer_tokens < found[0].lengths[0] / 2
    assert json.loads(blocks("json")[0]) == tiny_chat.as_messages(json.loads(blocks("json")[1]))


@pytest.mark.server
@pytest.mark.timeout(600)
def test_the_five_steps_work_and_generate_answers_as_the_campaign_says(tmp_path: Path) -> None:
    write(tmp_path)
    for command in commands(TEXT):
        run(command, tmp_path / "home", tmp_path)
    facts = [json.loads(line) for line in next((tmp_path / "home").rglob("rounds.jsonl")).read_text().splitlines()]
    card = (tmp_path / "answers" / "README.md").read_text()
    best = facts[int(re.findall(r"what round (\d+) of", card)[0]) - 1]
    rows = json.dumps(tiny_chat.chats(SIZES["test"], list(SIZES).index("test")))
    more = f"\nrows = {rows}\nprint(sum(ask(row['question']) == row['answer'] for row in rows))\n"
    code = [sys.executable, "-c", blocks("python")[0] + more]
    done = subprocess.run(code, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    exact = int(done.stdout.split()[-1])
    assert exact > 0
    assert exact == round(best["exact_match"] * SIZES["test"])
    assert best["score"] == best["exact_match"]
