# syntax=docker/dockerfile:1
# Tunesmith with experts on the processor (use_kt) and the rest on an NVIDIA card, or all of it on the processor.
# docker build -f docker/ktransformers.Dockerfile -t tunesmith:ktransformers .
FROM python:3.12-slim-bookworm AS wheels
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels ./core ./plugins/* ./backends/* ./templates/* .

FROM python:3.12-slim-bookworm
# Triton, which torch and Liger make kernels with, compiles a small C file on the card it meets.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
ARG EXTRAS=api,ktransformers
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    HF_HOME=/cache/huggingface \
    XDG_CACHE_HOME=/cache \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY constraints.txt /etc/tunesmith/constraints.txt
RUN pip install --no-cache-dir torch==2.13.0
RUN --mount=from=wheels,source=/wheels,target=/wheels \
    pip install --no-cache-dir --find-links /wheels --constraint /etc/tunesmith/constraints.txt "tunesmith[${EXTRAS}]==0.1.0"
COPY docker/health.py /usr/local/lib/tunesmith/health.py
RUN useradd --uid 1000 --create-home tunesmith \
    && install --directory --owner tunesmith --group tunesmith /work /cache /opt/tunesmith
ENV TUNESMITH_STACKS=/opt/tunesmith/stacks
USER 1000:1000
# kt-kernel is never beside the other packages: see docs/how-to/stacks.md.
RUN tunesmith stack create ktransformers
WORKDIR /work
VOLUME ["/work", "/cache"]
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=10m CMD ["python", "/usr/local/lib/tunesmith/health.py"]
ENTRYPOINT ["tunesmith"]
CMD ["doctor"]
