"""Train a transformer's layers with the activations they save kept in INT8.

    with compress(model, layers=[6, 7, 8]):
        loss = model(**batch).loss
        loss.backward()

The forward pass is untouched, and so is the loss, bit for bit; what changes is what autograd keeps between forward and
backward, about a quarter of it in fp32. Works on any Hugging Face transformer, wrapped by PEFT or not, in any training
loop that runs eagerly in one process a device.
"""

from fedquad.learn.activations.accounting import SavedBytes
from fedquad.learn.activations.session import Compression, compress

__all__ = ["Compression", "SavedBytes", "compress"]
