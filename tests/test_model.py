"""Any classifier loads by one generic path; what is wrong with a folder or a name is said in one line."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import KINDS, LABELS, a_spec, a_trainee, an_adapter, batch_of, examples, write_model
from transformers import AutoModelForSequenceClassification, BartConfig, BartForSequenceClassification, BertForMaskedLM

from fedquad.errors import DeviceError
from fedquad.learn.configure import set_head, set_lora
from fedquad.learn.model import load
from fedquad.learn.source import locate

HEADS = {
    "bert": {"classifier.weight", "classifier.bias"},
    "roberta": {
        "classifier.dense.weight",
        "classifier.dense.bias",
        "classifier.out_proj.weight",
        "classifier.out_proj.bias",
    },
    "deberta-v2": {"pooler.dense.weight", "pooler.dense.bias", "classifier.weight", "classifier.bias"},
    "llama": {"score.weight"},
    "qwen2": {"score.weight"},
}
TARGETS = {
    "bert": {"attention.self.query", "attention.self.value"},
    "roberta": {"attention.self.query", "attention.self.value"},
    "deberta-v2": {"attention.self.query_proj", "attention.self.value_proj"},
    "llama": {"self_attn.q_proj", "self_attn.v_proj"},
    "qwen2": {"self_attn.q_proj", "self_attn.v_proj"},
}

ALIKE = ("camembert", "electra", "xlm-roberta")
HEADS |= dict.fromkeys(ALIKE, HEADS["roberta"])
TARGETS |= dict.fromkeys(ALIKE, TARGETS["roberta"])


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_loads_with_lora_on_query_and_value_and_a_head_to_train(kind, tmp_path):
    trainee = a_trainee(tmp_path, kind)
    assert set(trainee.layout.head) == HEADS[kind]
    assert set(trainee.layout.targets) == TARGETS[kind]
    assert trainee.layout.shape.architecture == kind
    assert len(trainee.layers) == trainee.layout.shape.layers == 3
    assert not any(parameter.requires_grad for parameter in trainee.model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_with_an_adapter_of_zeros_the_model_computes_what_it_did_without(kind, tmp_path):
    trainee = a_trainee(tmp_path, kind)
    adapter, batch = an_adapter(trainee.layout), batch_of(trainee, examples(4))
    plain = AutoModelForSequenceClassification.from_pretrained(
        tmp_path, num_labels=LABELS, attn_implementation="eager" if kind == "deberta-v2" else "sdpa"
    )
    for name, value in adapter.head.items():
        plain.get_parameter(name).data = torch.tensor(value)
    set_head(trainee, adapter.head)
    for layer in range(3):
        set_lora(trainee, layer, {})
    with torch.no_grad():
        torch.testing.assert_close(trainee.model(**batch).logits, plain.eval()(**batch).logits, rtol=0, atol=0)


def test_the_digest_belongs_to_the_backbone_and_not_to_head_labels_or_precision(tmp_path):
    spec = a_spec(write_model(tmp_path / "a"))
    digest = load(spec, 3, 4).layout.digest
    assert load(replace(spec, precision="bf16"), 2, 8).layout.digest == digest
    assert load(a_spec(write_model(tmp_path / "b", intermediate_size=48)), 3, 4).layout.digest != digest


def test_a_pooler_that_the_checkpoint_lacks_is_trained_by_every_device(tmp_path):
    write_model(tmp_path, "bert")
    config = AutoModelForSequenceClassification.from_pretrained(tmp_path).config
    BertForMaskedLM(config).save_pretrained(tmp_path)
    layout = load(a_spec(tmp_path), LABELS, 4).layout
    assert layout.head_modules == ("bert.pooler", "classifier")
    assert "bert.pooler.dense.weight" in layout.head


def test_a_checkpoint_with_a_head_for_other_labels_gets_a_new_one(tmp_path):
    write_model(tmp_path)
    AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=2).save_pretrained(tmp_path)
    assert load(a_spec(tmp_path), LABELS, 4).layout.head["classifier.out_proj.weight"] == (LABELS, 16)


def test_targets_can_be_named(tmp_path):
    layout = load(a_spec(write_model(tmp_path), targets=("query", "intermediate.dense")), LABELS, 4).layout
    assert layout.targets == {"attention.self.query": (16, 16), "intermediate.dense": (16, 32)}


def test_targets_that_no_layer_has_are_refused_with_those_it_has(tmp_path):
    with pytest.raises(DeviceError, match=r"'q_proj'.*attention\.self\.query, "):
        load(a_spec(write_model(tmp_path), targets=("q_proj",)), LABELS, 4)


def test_deberta_which_has_no_sdpa_is_attended_eagerly_whatever_the_spec_says(tmp_path):
    loaded = load(a_spec(write_model(tmp_path, "deberta-v2"), attention="sdpa"), LABELS, 4)
    assert loaded.model.config._attn_implementation == "eager"


def test_a_model_whose_layers_cannot_be_told_is_refused(tmp_path):
    sizes = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "vocab_size": 44, "pad_token_id": 1}
    config = BartConfig(**sizes, encoder_ffn_dim=16, decoder_ffn_dim=16, encoder_attention_heads=2)
    BartForSequenceClassification(config).save_pretrained(tmp_path)
    with pytest.raises(DeviceError, match=r"cannot tell the transformer layers.*model\.encoder\.layers \(2\)"):
        load(a_spec(tmp_path), LABELS, 4)


def test_weights_of_another_architecture_are_refused(tmp_path):
    write_model(tmp_path / "deberta", "deberta-v2")
    write_model(tmp_path / "roberta")
    (tmp_path / "deberta" / "model.safetensors").rename(tmp_path / "roberta" / "model.safetensors")
    with pytest.raises(DeviceError, match=r"lacks .* of the weights of RobertaForSequenceClassification"):
        load(a_spec(tmp_path / "roberta", name=str(tmp_path / "roberta"), targets=("query",)), LABELS, 4)


def test_pickled_weights_are_read_as_weights_only_and_with_a_warning(tmp_path):
    spec = a_spec(write_model(tmp_path))
    digest = load(spec, LABELS, 4).layout.digest
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=LABELS)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.warns(UserWarning, match="weights_only"):
        assert load(spec, LABELS, 4).layout.digest == digest


def test_a_folder_without_weights_and_a_folder_that_is_not_there_are_refused(tmp_path):
    with pytest.raises(DeviceError, match=r"needs a config\.json and weights"):
        locate(str(tmp_path))
    with pytest.raises(DeviceError, match="no such folder"):
        locate(str(tmp_path / "nowhere"))


def test_offline_and_uncached_is_one_line_that_says_what_to_do(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DeviceError, match=r"HF_HUB_OFFLINE is set.*hf download no-such/model") as refused:
        locate("no-such/model")
    assert "\n" not in str(refused.value)


def test_a_cached_model_is_found_without_the_hub(tmp_path, monkeypatch):
    snapshot = tmp_path / "models--some--model" / "snapshots" / "0123"
    write_model(snapshot)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("0123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert locate("some/model") == snapshot


def test_a_padded_adapter_is_the_same_function_at_its_ranks_own_scale(tmp_path):
    trainee = a_trainee(tmp_path)
    adapter, batch = an_adapter(trainee.layout), batch_of(trainee, examples(4))
    padded = {
        layer: {t: type(p)(np.pad(p.a, ((0, 4), (0, 0))), np.pad(p.b, ((0, 0), (0, 4)))) for t, p in pairs.items()}
        for layer, pairs in adapter.layers.items()
    }
    set_head(trainee, adapter.head)
    outputs = []
    for layers in (adapter.layers, padded):
        for layer in range(3):
            set_lora(trainee, layer, layers[layer])
        with torch.no_grad():
            outputs.append(trainee.model(**batch).logits)
    torch.testing.assert_close(outputs[0], outputs[1])
    assert trainee.lora(0)["attention.self.query"].scaling["default"] == pytest.approx(8.0 / math.sqrt(4 * 8))
