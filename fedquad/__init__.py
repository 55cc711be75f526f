"""FedQuad: federated LoRA fine-tuning on devices of unequal memory and speed."""
