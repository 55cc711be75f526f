"""What runs on a board besides Prefect's worker: the resident trainer, the socket to it, their folder, the report on the device."""
