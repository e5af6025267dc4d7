#!/usr/bin/env bash
# What both kinds of container do: `install.sh packages cpu|cuda`, then `install.sh project`. Exactly the lock, but for
# torch: of `cpu`, the wheels for CPUs in the lock's versions, without NVIDIA's libraries.
set -euo pipefail
home=/opt/visionfm
case "$1 ${2:-}" in
    "packages cuda" | "packages cpu")
        python3 -m venv "$home"
        "$home/bin/python" -m pip install --quiet --no-cache-dir "uv>=0.9,<1"
        chosen=()
        cp /src/requirements.lock /src/chosen.lock
        if [ "$2" = cpu ]; then
            grep -vE '^(nvidia-|cuda-|triton)' /src/requirements.lock > /src/chosen.lock
            chosen=(--torch-backend cpu)
        fi
        "$home/bin/uv" pip install --quiet --no-cache --compile-bytecode --python "$home/bin/python" "${chosen[@]}" \
            --requirement /src/chosen.lock
        ;;
    "project ")
        # DICOM, .vol, .e2e, NIfTI and ONNX too, in the versions that the tests ran with.
        "$home/bin/uv" pip install --quiet --no-cache --compile-bytecode --python "$home/bin/python" \
            --constraint /src/requirements-dev.lock "/src/visionfm[dicom,oct,onnx]"
        "$home/bin/visionfm" --version
        rm -rf /src
        ;;
    *)
        echo "usage: install.sh packages cpu|cuda, or install.sh project; found: $*" >&2
        exit 2
        ;;
esac
