# The trainer on a Jetson Xavier with JetPack 5 (L4T 35), second tier: what is published for it ends at Python 3.8 and torch 2.2, and
# FedQuad needs 3.10 and 2.9. So it has a Python of its own, and torch for the CPU unless TORCH is the address of a wheel that you
# compiled for Python 3.11, this image's CUDA and sm_72 (docs/board.md). From the repository's top:
#
#   docker build --file deployments/jetson/xavier.Dockerfile --tag fedquad-trainer .
FROM nvcr.io/nvidia/l4t-jetpack:r35.4.1

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH="torch>=2.9,<2.14"

RUN apt-get update && apt-get install --yes --no-install-recommends python3-pip && rm -rf /var/lib/apt/lists/*
RUN python3 -m pip install --no-cache-dir uv
ENV UV_PYTHON_INSTALL_DIR=/opt/python UV_NO_CACHE=1 VIRTUAL_ENV=/opt/environment PATH=/opt/environment/bin:$PATH
RUN uv venv --python 3.11 /opt/environment
RUN uv pip install --index-url "$TORCH_INDEX" "$TORCH"

WORKDIR /opt/fedquad
COPY pyproject.toml README.md LICENSE ./
COPY fedquad ./fedquad
COPY flows ./flows
COPY tasks ./tasks
COPY kernels ./kernels
# typer for the command alone: no Prefect, no MLflow, no credentials
RUN uv pip install ".[learn]" "typer>=0.29"

CMD ["fedquad", "device", "trainer", "--help"]
