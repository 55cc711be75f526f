"""The embedded world: a small language, a backbone pre-trained on it, and the recipe. No device needs it but to run offline."""
