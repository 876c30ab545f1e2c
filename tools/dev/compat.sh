#!/usr/bin/env bash
# Run mmkd on other sets of packages than the pinned one: tools/dev/compat.sh [ROW…]
#   pinned            all of OpenMMLab's packages in the pinned versions
#   det, seg, cls     only mmdet, only mmseg, only mmpretrain: the other two are hidden
#   openmmlab         OpenMMLab's own last releases, compiled into COMPAT_VENV (default: .venv-openmmlab; 4 GB)
# Without arguments: all. PYTHON (default: .venv/bin/python) is the environment of the first four.
set -euo pipefail
cd "$(dirname "$0")/../.."
ROOT=$PWD
PYTHON=${PYTHON:-$ROOT/.venv/bin/python}
COMPAT_VENV=${COMPAT_VENV:-$ROOT/.venv-openmmlab}
OUT=${OUT:-$(mktemp -d)}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

# Every module, every small config of the tasks, and a quickstart of few images for each task.
check() { # check PYTHON TASKS
    local python=$1 task data
    "$python" -W ignore tools/dev/compat/import_all.py
    for task in $2; do
        case $task in det) data=bccd ;; seg) data=nuclei ;; cls) data=fashion-mnist ;; esac
        "$python" -m pytest -q -p no:cacheprovider tests/test_configs.py -k "builds and $data"
        mkdir -p "$OUT/$task" && pushd "$OUT/$task" >/dev/null
        "$python" -W ignore -m mmkd.datasets.shapes --out data/shapes \
            --num-train 8 --num-val 2 --num-test 2 --size 96
        length=train_cfg.max_epochs=1
        if [ "$task" = seg ]; then length='train_cfg.max_iters=2 train_cfg.val_interval=2'; fi
        # shellcheck disable=SC2086 # several options
        "$python" -W ignore "$ROOT/tools/quickstart.py" --task "$task" --work-dir quick \
            --cfg-options $length train_dataloader.batch_size=4
        popd >/dev/null
        rm -rf "${OUT:?}/$task"
    done
}

openmmlab() {
    if [ ! -x "$COMPAT_VENV/bin/python" ]; then
        "$PYTHON" -m venv "$COMPAT_VENV"
    fi
    local pip="$COMPAT_VENV/bin/python -m pip install --quiet"
    $pip 'torch==2.1.2' 'torchvision==0.16.2' 'numpy<2' 'setuptools<70' wheel ninja psutil pytest hypothesis pyyaml
    MMCV_WITH_OPS=1 CFLAGS='-O1 -g0' $pip --no-build-isolation 'mmcv==2.1.0' 'numpy<2'
    $pip 'mmengine==0.10.7' 'mmdet==3.3.0' 'mmsegmentation==1.2.2' 'mmpretrain==1.2.0' \
        'opencv-python<4.11' 'numpy<2' ftfy regex
    $pip --no-deps --no-build-isolation -e .
    check "$COMPAT_VENV/bin/python" 'det seg cls'
}

for row in ${*:-pinned det seg cls openmmlab}; do
    echo "== $row"
    export PYTHONPATH=$ROOT MMKD_HIDE=''
    case $row in
        pinned) check "$PYTHON" 'det seg cls' ;;
        det | seg | cls)
            case $row in
                det) MMKD_HIDE='mmseg mmpretrain' ;;
                seg) MMKD_HIDE='mmdet mmpretrain' ;;
                cls) MMKD_HIDE='mmdet mmseg' ;;
            esac
            PYTHONPATH=$ROOT/tools/dev/compat:$ROOT
            check "$PYTHON" "$row"
            ;;
        openmmlab) openmmlab ;;
        *) echo "no row $row" >&2 && exit 2 ;;
    esac
    echo "== $row passed"
done
