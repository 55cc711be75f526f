"""An adapter's folder comes back bit for bit, and PEFT computes with it what we compute."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import AutoPeftModelForSequenceClassification, PeftModel
from tiny import KINDS, LABELS, a_trainee, an_adapter, batch_of, examples
from transformers import AutoModelForSequenceClassification

from fedquad.errors import StoreError
from fedquad.learn import peft_folder
from fedquad.learn.configure import set_head, set_lora
from fedquad.rounds import adapters
from fedquad.types import Adapter


def ours(trainee, adapter, batch):
    set_head(trainee, adapter.head)
    for layer in range(3):
        set_lora(trainee, layer, adapter.layers.get(layer, {}))
    with torch.no_grad():
        return trainee.model.eval()(**batch).logits


def as_sent(adapter):
    return adapter


def with_unequal_ranks(adapter):
    return adapters.cut(adapter, (0, 1, 2), (1, 4, 3))


def without_a_layer(adapter):
    return Adapter(layers={layer: pairs for layer, pairs in adapter.layers.items() if layer != 1}, head=adapter.head)


@pytest.mark.parametrize("change", [as_sent, with_unequal_ranks, without_a_layer])
@pytest.mark.parametrize("kind", KINDS)
def test_peft_computes_the_same_logits_and_the_adapter_comes_back_bit_for_bit(kind, change, tmp_path):
    trainee = a_trainee(tmp_path / "base", kind)
    adapter, batch = change(an_adapter(trainee.layout)), batch_of(trainee, examples(5))
    peft_folder.write(tmp_path / "adapter", adapter, trainee.layout, trainee.spec, str(tmp_path / "base"))
    base = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "base", num_labels=LABELS, attn_implementation="eager" if kind == "deberta-v2" else "sdpa"
    )
    with torch.no_grad():
        theirs = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()(**batch).logits
    # At another rank than the campaign's we compute in that rank's own unit: the same function, not the same rounding.
    exact = {} if change is with_unequal_ranks else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(theirs, ours(trainee, adapter, batch), **exact)
    assert adapters.digest(peft_folder.read(tmp_path / "adapter")) == adapters.digest(adapter)


def test_peft_finds_the_base_model_by_itself(tmp_path):
    trainee = a_trainee(tmp_path / "base")
    adapter = an_adapter(trainee.layout)
    peft_folder.write(tmp_path / "adapter", adapter, trainee.layout, trainee.spec, str(tmp_path / "base"))
    model = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "adapter", num_labels=LABELS)
    assert model.peft_config["default"].base_model_name_or_path == str(tmp_path / "base")


def test_layer_1_and_layer_11_keep_their_own_ranks(tmp_path):
    trainee = a_trainee(tmp_path / "base", layers=12)
    ranks = tuple(1 + layer % 4 for layer in range(12))
    adapter = adapters.cut(an_adapter(trainee.layout), range(12), ranks)
    peft_folder.write(tmp_path / "adapter", adapter, trainee.layout, trainee.spec, str(tmp_path / "base"))
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=LABELS)
    model = PeftModel.from_pretrained(base, tmp_path / "adapter")
    found = [layer.attention.self.query.r["default"] for layer in model.base_model.model.roberta.encoder.layer]
    assert tuple(found) == ranks
    assert {
        layer.attention.self.query.scaling["default"] for layer in model.base_model.model.roberta.encoder.layer
    } == {2}


def test_writing_again_replaces_the_folder_and_leaves_nothing_else(tmp_path):
    trainee = a_trainee(tmp_path / "base")
    for seed in (0, 1):
        adapter = an_adapter(trainee.layout, seed=seed)
        peft_folder.write(tmp_path / "out" / "adapter", adapter, trainee.layout, trainee.spec, "mini")
    assert adapters.digest(peft_folder.read(tmp_path / "out" / "adapter")) == adapters.digest(adapter)
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["adapter"]
    assert json.loads((tmp_path / "out" / "adapter" / "adapter_config.json").read_text())["peft_type"] == "LORA"


def test_a_broken_or_halved_folder_is_refused(tmp_path):
    with pytest.raises(StoreError, match="is not an adapter"):
        peft_folder.read(tmp_path)
    trainee = a_trainee(tmp_path / "base")
    peft_folder.write(tmp_path / "adapter", an_adapter(trainee.layout), trainee.layout, trainee.spec, "mini")
    weights = tmp_path / "adapter" / peft_folder.WEIGHTS
    tensors = peft_folder.load_file(weights)
    gone = next(name for name in tensors if name.endswith("lora_B.weight"))
    peft_folder.save_file({name: value for name, value in tensors.items() if name != gone}, weights)
    with pytest.raises(StoreError, match="has only factor 'a'"):
        peft_folder.read(tmp_path / "adapter")
    weights.write_bytes(weights.read_bytes()[:-40])
    with pytest.raises(StoreError, match="is not an adapter"):
        peft_folder.read(tmp_path / "adapter")


def test_values_that_float32_can_hold_survive_to_the_bit(tmp_path):
    trainee = a_trainee(tmp_path / "base")
    adapter = an_adapter(trainee.layout)
    odd = np.array([[np.inf, -0.0, 1e-45, np.float32(1 / 3)]], np.float32).repeat(4, axis=1)[:, :16].repeat(16, axis=0)
    adapter = replace(adapter, head={**adapter.head, "classifier.dense.weight": odd})
    peft_folder.write(tmp_path / "adapter", adapter, trainee.layout, trainee.spec, "mini")
    assert adapters.digest(peft_folder.read(tmp_path / "adapter")) == adapters.digest(adapter)


def test_reading_and_writing_need_no_torch():
    code = "import sys, fedquad.learn.peft_folder, fedquad.learn.tokens, fedquad.objectives.classification, fedquad.fleets.partition\n"
    code += "print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
