# The device on arm64 with a CPU, such as a Raspberry Pi. Not built by the authors, who had no container engine at hand.
#   docker build -f docker/device.Dockerfile --platform linux/arm64 -t janus-vit-device .
#   docker run --device /dev/video0 --group-add video -v /srv/my-model:/model:ro janus-vit-device \
#       --model /model --cloud HOST:50051 --source camera:0
# On a Jetson start from NVIDIA's image with PyTorch for your JetPack instead of the line below.
FROM python:3.11-slim

WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src src
RUN pip install --no-cache-dir '.[video]' && useradd --create-home --groups video janus

USER janus
WORKDIR /home/janus
ENTRYPOINT ["janus-vit", "device"]
