#!/usr/bin/env bash
# What a GPU has to show, in parts of less than ten minutes each:
#
#     benchmarks/gpu.sh tests     the tests that need CUDA: graphs against eager steps, a GPU against a CPU
#     benchmarks/gpu.sh speed     the benchmark: member-steps per second, ratio to the eager loop, floor, memory
#     benchmarks/gpu.sh compiled  the same through torch.compile
#     benchmarks/gpu.sh smoke     a table in miniature from data to verdicts, twice: the second time nothing is left
#     benchmarks/gpu.sh scores    runs of the preset lite, in TF32, held against what a CPU gave (results.db)
#
# Without arguments all five, one after another. Set PYTHON to the interpreter (default: .venv's, else python3) and
# OUT to the folder that gets the logs (default: gpu-results). A part that fails or takes too long leaves its log
# and does not keep the others from running; the exit code says whether all passed.
set -uo pipefail
cd "$(dirname "$0")/.."

OUT=${OUT:-gpu-results}
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
LIMIT=570 # seconds of a part
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 MUJOCO_GL=${MUJOCO_GL:-disable}
mkdir -p "$OUT"
failed=0

part() { # NAME COMMAND...: run with a limit, and keep the output
    local name=$1 code=0
    shift
    echo "== $name"
    timeout --kill-after=10 "$LIMIT" "$@" 2>&1 | tee "$OUT/$name.log" || code=$?
    if [ "$code" -ne 0 ]; then
        echo "== $name: exit code $code (124: longer than $LIMIT s)"
        failed=1
    fi
}

smoke() {
    local command=("$PYTHON" -m harness reproduce aspc-table1 --preset smoke --device cuda
        --db "$OUT/smoke.db" --data-home "$DATA")
    "${command[@]}" && "${command[@]}" && "$PYTHON" -m harness status --db "$OUT/smoke.db"
}
scores() {
    local of=(aspc-table1 --preset lite --db "$OUT/scores.db") code=0
    for dataset in maze2d-umaze-v1 hopper-medium-v2; do
        "$PYTHON" -m harness reproduce "${of[@]}" --datasets "$dataset" --device cuda --data-home "$DATA" &&
            "$PYTHON" -m harness drift "${of[@]}" --datasets "$dataset" --baseline results.db --gate both || code=$?
    done
    return "$code"
}
export -f smoke scores
DATA=${HARNESS_DATA:-$(mktemp -d)}
export PYTHON OUT DATA

"$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || {
    echo "$PYTHON's torch finds no CUDA device" >&2
    exit 1
}
for name in "${@:-all}"; do
    case $name in
        tests | all)
            part tests "$PYTHON" -m pytest -q -p no:cacheprovider tests/training/test_cuda.py \
                tests/algorithms/test_algorithms_population.py -k cuda
            ;;&
        speed | all)
            part speed "$PYTHON" benchmarks/training.py --device cuda --members 1 4 16 64 128 \
                --algorithms bc td3_bc aspc --rounds 5
            ;;&
        compiled | all)
            part compiled "$PYTHON" benchmarks/training.py --device cuda --members 64 16 1 \
                --algorithms td3_bc aspc --rounds 5 --compile
            ;;&
        smoke | all) part smoke bash -c smoke ;;&
        scores | all) part scores bash -c scores ;;
        tests | speed | compiled | smoke) ;;
        *)
            echo "unknown part $name: tests, speed, compiled, smoke or scores" >&2
            exit 2
            ;;
    esac
done
exit "$failed"
