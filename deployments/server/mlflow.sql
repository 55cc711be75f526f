-- MLflow's own databases beside Prefect's: runs, and who may see them.
CREATE DATABASE mlflow;
CREATE DATABASE mlflow_users;
