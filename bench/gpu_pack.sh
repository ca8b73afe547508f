#!/usr/bin/env bash
# What a bare GPU machine without a network needs, into .gpu/ (which git ignores): our wheel for its
# Python and card, and the wheels of what is missing there. Run it where there are a network and nvcc.
#
#   bench/gpu_pack.sh [python3.12] [90]
#
# Prints what it takes; 64 MiB can be carried, scenes and sources included.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3.12} cards=${2:-90}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p .gpu/whl
rm -f .gpu/whl/*.whl
"$python" -m pip wheel -q --no-deps -w .gpu/whl . -C build-dir="$work/build" \
  -C cmake.define.SPLAT_CUDA=ON -C cmake.define.CMAKE_CUDA_ARCHITECTURES="$cards"
# torch, numpy, scipy, OpenCV, matplotlib and pytest are there already.
"$python" -m pip download -q --no-deps --only-binary :all: -d .gpu/whl \
  tyro typeguard docstring_parser jaxtyping wadler-lindig zstandard av tqdm plyfile beartype trimesh constriction \
  fast_simplification jsonschema jsonschema-specifications referencing rpds-py attrs soundfile cffi pycparser
du -sh .gpu/whl
