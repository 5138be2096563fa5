#!/bin/sh
# Brings results/cuda.md up to date, on a machine with a CUDA device: every check of the project that needs one, the
# most telling first. Each part has its share of eight minutes; what there was of one that is cut is kept.
set -u
cd "$(dirname "$0")/.." || exit 1
python -c 'import sys, torch; torch.cuda.is_available() or sys.exit("cuda.sh: torch finds no CUDA device here.")' || exit 1

part() { # title, seconds, command
    title=$1 seconds=$2
    shift 2
    printf '\n## %s\n\n```\n' "$title" >> results/cuda.md
    timeout "$seconds" "$@" >> results/cuda.md 2>&1 || printf '(ended with code %s after at most %s s)\n' $? "$seconds" >> results/cuda.md
    printf '```\n' >> results/cuda.md
}

printf '# On a CUDA device\n' > results/cuda.md
part 'Kernels against compiled loops' 150 python -m pytest -q -rs tests/corruptions/test_kernels_on_cuda.py tests/rng
part 'The model and the stopwatch' 90 python benchmarks/roofline.py --measure
part 'Predictions and throughput' 120 python benchmarks/on_device.py --images 4096 --limit 300 "$@"
part 'Transfer' 40 python benchmarks/transfer.py --device cuda
part 'Attacks' 60 python benchmarks/attacks.py --device cuda
cat results/cuda.md
