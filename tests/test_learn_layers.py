"""The transformer layers are found from the model itself."""

import pytest
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    DebertaV2Config,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2Config,
    RobertaConfig,
)

from fedquad.learn.layers import find_layers

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 50,
    "pad_token_id": 0,
}
PATHS = {
    BertConfig: "bert.encoder.layer",
    RobertaConfig: "roberta.encoder.layer",
    DebertaV2Config: "deberta.encoder.layer",
}
PATHS |= {LlamaConfig: "model.layers", Qwen2Config: "model.layers"}


def a_model(config: PreTrainedConfig) -> nn.Module:
    return AutoModelForSequenceClassification.from_config(config)


@pytest.mark.parametrize("kind", PATHS)
def test_layers_are_found_in_a_model_and_in_its_peft_wrapper(kind):
    model = a_model(kind(**TINY))
    assert find_layers(model) is model.get_submodule(PATHS[kind])
    target = ["q_proj"] if "model." in PATHS[kind] else ["query_proj", "query"]
    assert find_layers(get_peft_model(model, LoraConfig(target_modules=target))) is model.get_submodule(PATHS[kind])


def test_a_config_with_another_name_for_its_depth_is_understood():
    model = a_model(GPT2Config(n_embd=16, n_layer=3, n_head=2, vocab_size=50, pad_token_id=0))
    assert find_layers(model) is model.get_submodule("transformer.h")


def test_a_model_with_two_stacks_is_refused_by_name():
    sizes = {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    model = a_model(BartConfig(d_model=16, encoder_layers=2, decoder_layers=2, vocab_size=50, **sizes))
    with pytest.raises(ValueError, match=r"model\.encoder\.layers \(2\), model\.decoder\.layers \(2\)"):
        find_layers(model)


def test_a_module_without_a_configuration_is_refused():
    with pytest.raises(ValueError, match="num_hidden_layers"):
        find_layers(nn.Sequential(nn.Linear(2, 2)))
