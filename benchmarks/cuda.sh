#!/bin/sh
# Brings results/cuda.md up to date, on a machine with a CUDA device: every check of the project that needs one. It takes
# eight minutes at most; each part has its share, and where it is cut, what it had found by then stands there.
set -u
cd "$(dirname "$0")/.."
python -c 'import sys, torch; torch.cuda.is_available() or sys.exit("cuda.sh: torch finds no CUDA device here.")' || exit 1
out=results/cuda.md

part() {  # TITLE SECONDS COMMAND…
    title=$1 seconds=$2
    shift 2
    printf '\n## %s\n\n```\n$ %s\n' "$title" "$*" >> $out
    PYTHONUNBUFFERED=1 timeout -k 5 "$seconds" "$@" >> $out 2>&1
    case $? in
    0) ;;
    124 | 137) echo "cut after $seconds s" >> $out ;;
    *) echo "failed" >> $out ;;
    esac
    printf '```\n' >> $out
}

{ printf '# On a CUDA device, as measured by `benchmarks/cuda.sh`\n\n'
  python -c 'import torch, timm; print(torch.cuda.get_device_name(), "· torch", torch.__version__, "· timm", timm.__version__)'
} > $out
part 'Tests' 150 python -m pytest -q -rfE --tb=line -m slow tests/cuda -n 4
part 'Corruptions' 70 python benchmarks/corruptions.py --device cuda --batch 256
part 'Predictions and throughput' 120 python benchmarks/on_device.py --images 10000 --limit 100
part 'Attacks' 60 python benchmarks/attacks.py --device cuda
part 'Transfer' 80 python benchmarks/transfer.py --device cuda --only neighbours,runs
cat $out
