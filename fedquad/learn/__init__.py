"""What runs on a device: the model, its assignment, training and activation compression (torch; no Prefect, no MLflow)."""
