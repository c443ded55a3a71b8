# The cloud on an NVIDIA GPU, x86-64. Not built by the authors, who had no container engine at hand.
#   docker build -f docker/server.Dockerfile -t janus-vit-server .
#   docker run --gpus all -p 50051:50051 -v /srv/my-model:/model:ro janus-vit-server --model /model --allow-anonymous   # or tokens: docs/security.md
FROM python:3.11-slim

# On Linux x86-64 the default wheel of torch brings its own CUDA libraries; the driver comes from the host.
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src src
RUN pip install --no-cache-dir '.[video]' && useradd --create-home janus

USER janus
WORKDIR /home/janus
EXPOSE 50051
ENTRYPOINT ["janus-vit", "cloud", "--listen", "0.0.0.0:50051", "--engine", "cuda"]
