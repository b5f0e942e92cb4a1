#!/usr/bin/env bash
# Makes a fresh Ubuntu 24.04 machine a node: driver (V100 only), virtual environment from the tested set, shell settings.
# Always holds: running it again costs a second; every node gets the same constraints.txt and the same Python.
# Run by the cluster files on every node: bash ~/paramalloc/cluster/install.sh [v100 TORCH_INDEX_URL]
set -euo pipefail

project=$(cd "$(dirname "$0")/.." && pwd)
venv=$HOME/venv
gpu=${1:-}
torch_index=${2:-}
if [ "$gpu" = v100 ] && [[ $torch_index != *://* ]]; then
    echo "install.sh: a V100 needs the address of PyTorch's CUDA 12.6 builds; got '$torch_index'" >&2
    exit 2
fi
apt() { sudo DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@"; }

# The Deep Learning image's driver (595) knows no V100 any more; 580 is the last that does.
if [ "$gpu" = v100 ] && ! command -v nvidia-smi >/dev/null; then
    apt update
    apt install -y linux-modules-nvidia-580-server-aws nvidia-headless-no-dkms-580-server nvidia-utils-580-server
    sudo modprobe nvidia
fi

if ! python3 -c 'import ensurepip' 2>/dev/null; then
    apt update
    apt install -y python3-venv
fi

wanted=$(cat "$project/pyproject.toml" "$project/constraints.txt" "$0" <(echo "$gpu") | sha256sum)
if [ "$(cat "$venv/.installed" 2>/dev/null)" != "$wanted" ]; then
    python3 -m venv "$venv"
    pip=("$venv/bin/python" -m pip install --quiet --no-input --constraint "$project/constraints.txt")
    # PyTorch for CUDA 13, the usual one, has no V100 kernels; the one for CUDA 12.6 has.
    [ "$gpu" != v100 ] || "${pip[@]}" --index-url "$torch_index" torch
    "${pip[@]}" --editable "$project"
    echo "$wanted" >"$venv/.installed"
fi

# Every shell that Ray opens here reads this: the token that all of Ray asks for, and no reports to anybody.
if ! grep -q 'paramalloc/cluster/install.sh' "$HOME/.bashrc"; then
    cat >>"$HOME/.bashrc" <<'SETTINGS'
# from paramalloc/cluster/install.sh
export PATH="$HOME/venv/bin:$PATH"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$HOME/.ray/auth_token" RAY_USAGE_STATS_ENABLED=0
SETTINGS
fi
