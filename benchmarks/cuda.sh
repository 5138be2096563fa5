#!/bin/sh
# Brings results/cuda.md up to date, on a machine with a CUDA device: every check of the project that needs one.
set -eu
cd "$(dirname "$0")/.."
python -c 'import sys, torch; torch.cuda.is_available() or sys.exit("cuda.sh: torch finds no CUDA device here.")'
python benchmarks/on_device.py "$@" > results/cuda.md.part
{ printf '\n## Corruptions\n\n```\n'; python benchmarks/corruptions.py --device cuda --batch 256; printf '```\n'; } >> results/cuda.md.part
{ printf '\n## Attacks\n\n```\n'; python benchmarks/attacks.py --device cuda; printf '```\n'; } >> results/cuda.md.part
{ printf '\n## Transfer\n\n```\n'; python benchmarks/transfer.py --device cuda; printf '```\n'; } >> results/cuda.md.part
mv results/cuda.md.part results/cuda.md
cat results/cuda.md
