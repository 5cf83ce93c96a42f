# syntax=docker/dockerfile:1
# Tunesmith on Ascend cards. CANN is in the image that this one starts from, the driver comes from the host.
# docker build -f docker/npu.Dockerfile -t tunesmith:npu .
# CANN, torch and torch-npu belong together; tunesmith doctor --backend npu knows the table.
ARG CANN_IMAGE=quay.io/ascend/cann:8.5.0-910b-ubuntu22.04-py3.11
FROM python:3.11-slim-bookworm AS wheels
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels ./core ./plugins/* ./backends/* ./templates/* .

# hadolint ignore=DL3006
FROM ${CANN_IMAGE}
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH=2.9.0
ARG TORCH_NPU=2.9.0
ARG EXTRAS=api
USER 0
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    HF_HOME=/cache/huggingface \
    XDG_CACHE_HOME=/cache
COPY constraints.txt /etc/tunesmith/tested.txt
# torch-npu says which torch it is, and that one its triton; the tested ones of the processor and of CUDA are others.
RUN grep -vE '^(torch|triton)' /etc/tunesmith/tested.txt > /etc/tunesmith/constraints.txt \
    && pip install --no-cache-dir --index-url "${TORCH_INDEX}" "torch==${TORCH}" \
    && pip install --no-cache-dir "torch-npu==${TORCH_NPU}" "torch==${TORCH}"
RUN --mount=from=wheels,source=/wheels,target=/wheels \
    pip install --no-cache-dir --find-links /wheels --constraint /etc/tunesmith/constraints.txt "tunesmith[${EXTRAS}]==0.1.0" tunesmith-npu==0.1.0
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
