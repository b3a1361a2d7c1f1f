#!/usr/bin/env bash
# Make .venv with the SDK, every backend and the development tools.
#
# A second call does nothing until pyproject.toml, constraints.txt or this script change.
#   PYTHON=...       the interpreter to use (3.11 or 3.12)
#   TORCH_INDEX=...  the only index torch may come from, such as a mirror of the CPU builds
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

root=$PWD
venv=$root/.venv
venv_python=$venv/bin/python
stamp=$venv/.edgesdk-setup
log=$venv/setup.log

unset PYTHONHOME PYTHONPATH
export PYTHONNOUSERSITE=1 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_USER=0
export PIP_REQUIRE_VIRTUALENV=0

say() { printf 'setup: %s\n' "$*"; }
fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 3
}

# step TEXT COMMAND...: run it quietly; one line with its seconds, or the end of its output.
step() {
    local text=$1 begun=$SECONDS
    shift
    printf '\n== %s\n' "$text" >>"$log"
    if ! "$@" >>"$log" 2>&1 </dev/null; then
        tail -n 30 "$log" >&2
        fail "$text failed after $((SECONDS - begun)) s; the whole output is in .venv/setup.log"
    fi
    say "$text: $((SECONDS - begun)) s"
}

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; }

find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" || fail "PYTHON=$PYTHON does not run or is no Python 3.11 or 3.12"
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in python3.11 python3.12 python3 python; do
        # Run it: version managers leave launchers on PATH for versions that are switched off.
        if command -v "$candidate" >/dev/null && fits "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or 3.12 found (python3 is $(python3 --version 2>/dev/null || echo absent));" \
        "install python3.11 with its venv module, or name one: PYTHON=/path/to/python3.11 make setup"
}

digest() {
    "$venv_python" - pyproject.toml constraints.txt scripts/setup.sh <<'PY'
import hashlib, pathlib, sys
data = b"".join(pathlib.Path(name).read_bytes() for name in sys.argv[1:])
print(sys.version_info[:2], pathlib.Path.cwd(), hashlib.sha256(data).hexdigest())
PY
}

healthy() {
    # A virtual environment remembers its absolute path: a moved one starts the wrong programs.
    [ -x "$venv_python" ] && fits "$venv_python" &&
        head -n 3 "$venv/bin/pip" 2>/dev/null | grep -qF "$venv/bin/" &&
        "$venv_python" -m pip --version >/dev/null 2>&1
}

make_venv() {
    local python=$1
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        # Debian and Ubuntu ship venv apart from the interpreter.
        scripts/system_packages.sh "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" ||
            fail "$python has no venv module; install it (on Debian and Ubuntu: python3-venv)"
    fi
    rm -rf "$venv"
    "$python" -m venv "$venv"
}

pip() { "$venv_python" -m pip "$@"; }

torch_version() { sed -n 's/^torch==//p' constraints.txt; }

# The CPU build: a plain `torch` on Linux brings several GB of CUDA libraries that no converter
# uses. A configured index or wheel folder that has the CPU build wins over PyTorch's own index.
install_torch() {
    local wanted
    wanted=$(torch_version)
    if [ -n "${TORCH_INDEX:-}" ]; then
        pip install --quiet --index-url "$TORCH_INDEX" "torch==$wanted"
    elif [ "$(uname -s)" = Linux ]; then
        pip install --quiet "torch==$wanted+cpu" ||
            pip install --quiet --retries 2 --timeout 30 \
                --index-url https://download.pytorch.org/whl/cpu "torch==$wanted" ||
            pip install --quiet "torch==$wanted"
    else
        pip install --quiet "torch==$wanted"
    fi
}

install_sdk() { pip install --quiet --constraint constraints.txt --editable '.[all,dev]'; }

warn_of_cuda() {
    local cuda
    cuda=$("$venv_python" -c 'import torch; print(torch.version.cuda or "")' 2>>"$log") ||
        fail "torch was installed but does not import; see the end of .venv/setup.log"
    if [ -n "$cuda" ]; then
        say "torch is the CUDA $cuda build: it works, and is about 4 GB larger than needed."
        say "smaller: rm -rf .venv && TORCH_INDEX=https://download.pytorch.org/whl/cpu make setup"
    fi
}

# The digest names the folder and the Python version too, so a moved checkout is set up again.
if [ -f "$stamp" ] && [ -x "$venv_python" ] && [ "$(cat "$stamp")" = "$(digest)" ]; then
    exit 0
fi

begun=$SECONDS
if healthy; then
    rm -f "$stamp"
    : >"$log"
else
    python=$(find_python)
    say "making .venv with $("$python" --version 2>&1)"
    make_venv "$python"
fi
step "torch $(torch_version), the CPU build where there is one" install_torch
step "edgesdk with every backend and the development tools" install_sdk
step "consistency of all installed packages (pip check)" pip check
warn_of_cuda
digest >"$stamp"
say "done in $((SECONDS - begun)) s"
