# docker build -t splat .                                  # CPU
# docker build -t splat:cuda --build-arg VARIANT=cuda .    # CUDA kernels and a CUDA torch
# docker run --rm -v "$PWD:/work" splat train scene/       # with --gpus all for the latter
#
# TORCH: options of pip for torch alone, such as an index that has the build for CPUs only, which is
# ten times smaller.
ARG VARIANT=cpu

FROM python:3.12-slim-bookworm AS cpu-build
ENV SPLAT_CUDA=OFF

FROM nvidia/cuda:12.8.1-devel-ubuntu24.04 AS cuda-build
ENV SPLAT_CUDA=ON

# hadolint ignore=DL3006
FROM ${VARIANT}-build AS build
ARG TORCH=""
ARG ARCHITECTURES="all-major"
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ python3-venv python3-dev \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/splat
ENV PATH=/opt/splat/bin:$PATH
COPY . /source
WORKDIR /source
# What is installed is this source, and the torch that TORCH asks for, in words of its own.
# hadolint ignore=DL3013,SC2086
RUN pip install --no-cache-dir torch $TORCH \
 && pip install --no-cache-dir '.[prep,viewer,mesh]' \
      -C "cmake.define.SPLAT_CUDA=$SPLAT_CUDA" \
      -C "cmake.define.CMAKE_CUDA_ARCHITECTURES=$ARCHITECTURES"

# hadolint ignore=DL3006
FROM ${VARIANT}-build AS dev
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ git python3-venv python3-dev \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/splat
ENV PATH=/opt/splat/bin:$PATH

FROM python:3.12-slim-bookworm AS cpu-run

FROM nvidia/cuda:12.8.1-base-ubuntu24.04 AS cuda-run
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 \
 && rm -rf /var/lib/apt/lists/*

# hadolint ignore=DL3006
FROM ${VARIANT}-run AS splat
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 10001 splat
COPY --from=build /opt/splat /opt/splat
ENV PATH=/opt/splat/bin:$PATH
USER 10001
WORKDIR /work
ENTRYPOINT ["splat"]
CMD ["--help"]
