#!/usr/bin/env bash
# The league of docs/results/league.md: bench/league.sh DATA OUT, with the scenes fox, plush_phone and lego_400
# in DATA. Every command goes on where it was stopped, and reports are written on the way.
set -euo pipefail
data=$1 out=$2
scenes=("$data/fox" "$data/plush_phone" "$data/lego_400")
# Half of fox and plush_phone; lego_400 is smaller.
shared=(--max-side 480 --resolution dash)
calm="--reset-every 0"
league=(splat compare "${scenes[@]}" "${shared[@]}")

screen() {  # every strategy, one seed
  "${league[@]}" --steps 3000 --budget 25k,100k --seeds 1 --out "$out/league" \
    --strategies "mcmc, adc, adc_calm=adc $calm, mrnf, igs, igs_calm=igs $calm, error" \
    --strategies "mrnf_moment=mrnf --children moment, taming, taming_calm=taming $calm" \
    --strategies "adc_blur=adc $calm + blur-split, igs_renew=igs $calm + renew, mrnf_renew=mrnf + renew" \
    --strategies "mrnf_moment_renew=mrnf --children moment + renew" \
    --strategies "mcmc_recycle=mcmc + significance --score mass --at 9000 12000 15000 18000 21000 \
      --keep 0.9 --how recycle"
}

seeds() {  # the best ones, and mcmc to compare with
  splat compare --out "$out/league" --seeds 3 --strategies "$1"
}

long() {  # the best three, 7,000 steps
  "${league[@]}" --steps 7000 --budget 25k,100k --seeds 1 --out "$out/long" --strategies "$1"
}

significance() {  # 60 % go after 3,000 of 5,000 steps, by different scores
  local recipes="whole=mrnf" score
  for score in lightgaussian lightgaussian_released mass most mini squared area hits opacity random; do
    recipes+=", $score=mrnf + significance --score $score --at 18000 --keep 0.4"
  done
  "${league[@]}" --steps 5000 --budget 50k --seeds 1 --out "$out/significance" --strategies "$recipes"
  recipes="whole=adc"
  for score in squared most opacity random; do
    recipes+=", $score=adc + significance --score $score --at 18000 --keep 0.4"
  done
  "${league[@]}" --steps 5000 --budget 100k --seeds 1 --out "$out/significance_adc" \
    --strategies "$recipes"
}

"${@:3}"
