#!/usr/bin/env bash
# The GPU day: what is to be seen when a card can be had, in three calls of at most ten minutes each, on
# a bare machine with torch, nvcc and no network. `bench/gpu_pack.sh` makes what is carried there.
#
#   OUT=out bench/gpu_day.sh 1            # correctness: every gpu test, sanitizers, every method and verb
#   OUT=out bench/gpu_day.sh 2 SCENE...   # quality: scenes by mcmc and adc, ours and gsplat in turns
#   OUT=out bench/gpu_day.sh 3 [SCENE]    # speed: stages and steps at 0.2 to 10 million, ncu of the largest; and
#                                         # a scene by two processes that share its Gaussians out
#
# JSON and logs go to $OUT; figures belong into docs/results/gpu.md with the card and the date.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${OUT:?where results go}
mkdir -p "$out"
python=${PYTHON:-python3}
if compgen -G '.gpu/whl/*.whl' >/dev/null; then
  site=${SITE:-/tmp/splat-gpu-site}
  [ -d "$site/splat" ] || "$python" -m pip install -q --no-index --no-deps --no-compile --target "$site" .gpu/whl/*.whl
  export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
fi
export PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1   # from the root, splat/ would hide the wheel
run() {  # seconds, log, command
  local seconds=$1 log=$2
  shift 2
  echo "== $* (at most $seconds s)"
  timeout -k 5 "$seconds" "$@" >"$out/$log" 2>&1
  echo "exit code $?" >>"$out/$log"
  tail -5 "$out/$log"
}
nvidia-smi >"$out/nvidia-smi.txt" 2>&1 || true

case ${1:?1, 2 or 3} in
1)
  run 30 doctor.txt "$python" -m splat doctor
  run 270 tests.txt "$python" -m pytest -q -m gpu tests --import-mode=importlib -p no:cacheprovider
  if command -v compute-sanitizer >/dev/null; then
    run 90 memcheck.txt compute-sanitizer --tool memcheck "$python" -m pytest -q -x -m gpu tests/test_cuda_kernels.py
    run 90 racecheck.txt compute-sanitizer --tool racecheck "$python" -m pytest -q -x -m gpu tests/test_losses.py
  fi
  run 100 sweep.txt "$python" bench/cuda_sweep.py --steps 200
  ;;
2)
  shift
  steps=${STEPS:-7000} cap=${CAP:-300k}
  for scene in "$@"; do
    name=$(basename "$scene")
    for recipe in mcmc adc; do
      for renderer in native gsplat; do
        folder=$out/runs/$name-$recipe-$renderer
        run 140 "$name-$recipe-$renderer.txt" "$python" -m splat train "$scene" --out "$folder" --overwrite \
          --device cuda --renderer $renderer --steps "$steps" --seed 0 --quiet --no-pictures $recipe --cap "$cap"
        cp "$folder/metrics.json" "$out/$name-$recipe-$renderer.json" 2>/dev/null || true
      done
    done
  done
  ;;
3)
  run 300 speed.txt "$python" bench/gpu.py --counts 200000 1000000 3000000 10000000 --out "$out/speed.json"
  if command -v ncu >/dev/null; then
    run 200 ncu.txt ncu --set basic -k 'regex:blend_tile|take_back|gather|step_values' -c 24 \
      "$python" bench/gpu.py --counts 1000000 --renderers native --repeats 4
  fi
  if [ -n "${2:-}" ]; then
    # On one card they speak over the machine's memory, on several by NCCL.
    cards=$(nvidia-smi -L 2>/dev/null | wc -l)
    together=("$python" -m torch.distributed.run --nproc-per-node "$((cards > 1 ? cards : 2))" -m splat)
    run 90 shard.txt "${together[@]}" train "$2" --out "$out/runs/shard" --overwrite --device cuda \
      --steps "${STEPS:-500}" --seed 0 --quiet --no-pictures --shard mcmc --cap 300k
    cp "$out/runs/shard/metrics.json" "$out/shard.json" 2>/dev/null || true
  fi
  ;;
esac
