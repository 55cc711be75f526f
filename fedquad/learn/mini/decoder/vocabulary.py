"""The word-level tokenizer of the decoder: a word is a token, and a chat reads `<s> asked <turn> answered </s>`."""

from collections.abc import Iterable

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from fedquad.learn.mini.vocabulary import words

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<turn>")
_TEMPLATE = (
    "<s>{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}</s>{% else %}<turn>{% endif %}{% endfor %}"
)


def build_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer that knows every word of these texts, in alphabetical order, and the template of chats."""
    known = sorted({word for text in texts for word in words(text)})
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *known))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=["<turn>"],
        chat_template=_TEMPLATE,
        model_max_length=64,
    )
