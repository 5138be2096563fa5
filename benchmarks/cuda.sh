#!/bin/sh
# Brings results/cuda.md up to date, on a machine with a CUDA device: every check of the project that needs one. It takes
# eight minutes at most, the most telling first; each part has its share, and what there was of one that is cut is kept.
set -u
cd "$(dirname "$0")/.."
python -c 'import sys, torch; torch.cuda.is_available() or sys.exit("cuda.sh: torch finds no CUDA device here.")' || exit 1
out=results/cuda.md

part() {  # TITLE SECONDS COMMAND…
    title=$1 seconds=$2
    shift 2
    printf '\n## %s\n\n~~~\n$ %s\n' "$title" "$*" >> $out
    PYTHONUNBUFFERED=1 timeout -k 5 "$seconds" "$@" >> $out 2>&1
    case $? in
    0) ;;
    124 | 137) echo "cut after $seconds s" >> $out ;;
    *) echo "failed" >> $out ;;
    esac
    printf '~~~\n' >> $out
}

{ printf '# On a CUDA device, as measured by `benchmarks/cuda.sh`\n\n'
  python -c 'import torch, timm; print(torch.cuda.get_device_name(), "· torch", torch.__version__, "· timm", timm.__version__)'
} > $out
part 'Kernels against compiled loops' 60 python -m pytest -q -rfE --tb=line -n 4 tests/corruptions/test_kernels_on_cuda.py tests/rng
part 'The model and the stopwatch' 60 python benchmarks/roofline.py --measure
part 'Corruptions beside a forward pass' 30 python benchmarks/corruptions.py --device cuda --batch 256
part 'Predictions and throughput' 120 python benchmarks/on_device.py --images 10000 --limit 100
part 'Transfer' 40 python benchmarks/transfer.py --device cuda --only neighbours,runs
part 'Attacks' 60 python benchmarks/attacks.py --device cuda
part 'The rest of the tests' 110 python -m pytest -q -rfE --tb=line -m slow tests/cuda -n 4
cat $out
