# The trainer on a Jetson Orin with JetPack 6 (L4T 36): Ubuntu 22.04, Python 3.10, CUDA 12.6. From the repository's top:
#
#   docker build --file deployments/jetson/orin.Dockerfile --tag fedquad-trainer .
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0

# torch for this board's GPU; the one on PyPI is for servers. It goes first and by itself, so that nothing else asks for another.
ARG TORCH_INDEX=https://pypi.jetson-ai-lab.io/jp6/cu126
ARG TORCH="torch>=2.9,<2.14"

RUN apt-get update && apt-get install --yes --no-install-recommends python3-pip && rm -rf /var/lib/apt/lists/*
RUN python3 -m pip install --no-cache-dir --upgrade pip
RUN python3 -m pip install --no-cache-dir --index-url "$TORCH_INDEX" "$TORCH"

WORKDIR /opt/fedquad
COPY pyproject.toml README.md LICENSE ./
COPY fedquad ./fedquad
COPY flows ./flows
COPY tasks ./tasks
COPY kernels ./kernels
# typer for the command alone: no Prefect, no MLflow, no credentials
RUN python3 -m pip install --no-cache-dir ".[learn]" "typer>=0.29"

CMD ["fedquad", "device", "trainer", "--help"]
