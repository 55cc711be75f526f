"""Train a transformer's layers with the activations they save kept in INT8; the way in is `compress`."""
