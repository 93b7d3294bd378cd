#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: bash run.sh SECONDS [options of `python -m bench.gpu`]
# Results go to the folder that the variable OUT names, or to ./out; PYTHON says which Python (python3).
exec "${PYTHON:-python3}" "$(dirname "${BASH_SOURCE[0]}")/start.py" "$@"
