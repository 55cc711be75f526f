"""Contents between machines, addressed by what is in them: a folder, an object store, or MLflow's server in between."""
