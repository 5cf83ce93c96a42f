# syntax=docker/dockerfile:1
# Tunesmith on processors. Build from the root of the checkout: docker build -f docker/cpu.Dockerfile -t tunesmith:cpu .
FROM python:3.12-slim-bookworm AS wheels
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels ./core ./plugins/* ./backends/* ./templates/* .

FROM python:3.12-slim-bookworm
# A build of torch without CUDA, which would be some gigabytes.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=api
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    HF_HOME=/cache/huggingface \
    XDG_CACHE_HOME=/cache
COPY constraints.txt /etc/tunesmith/constraints.txt
RUN pip install --no-cache-dir --index-url "${TORCH_INDEX}" torch==2.13.0
RUN --mount=from=wheels,source=/wheels,target=/wheels \
    pip install --no-cache-dir --find-links /wheels --constraint /etc/tunesmith/constraints.txt "tunesmith[${EXTRAS}]==0.1.0"
COPY docker/health.py /usr/local/lib/tunesmith/health.py
RUN useradd --uid 1000 --create-home tunesmith \
    && install --directory --owner tunesmith --group tunesmith /work /cache
USER 1000:1000
WORKDIR /work
VOLUME ["/work", "/cache"]
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=10m CMD ["python", "/usr/local/lib/tunesmith/health.py"]
ENTRYPOINT ["tunesmith"]
CMD ["doctor"]
