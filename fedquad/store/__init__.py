"""Campaigns on disk: folders, locks, safetensors and manifests. numpy and files only; no Prefect, no torch."""
