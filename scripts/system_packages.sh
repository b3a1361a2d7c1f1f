#!/usr/bin/env bash
# Install system packages that are not there yet: as root on Debian or Ubuntu; elsewhere name them.
#
#   system_packages.sh PACKAGE[:COMMAND[,COMMAND...]]...
#
# A package counts as there when one of its commands is on PATH (the package's own name where none
# is given). Ends with 0 when everything is there afterwards, with 3 otherwise.
set -euo pipefail

absent=()
for entry in "$@"; do
    package=${entry%%:*}
    commands=${entry#*:}
    found=
    for name in ${commands//,/ }; do
        if command -v "$name" >/dev/null; then found=1; fi
    done
    [ -n "$found" ] || absent+=("$package")
done
if [ ${#absent[@]} -eq 0 ]; then
    exit 0
fi

list="${absent[*]}"
if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "system packages: $list not found; what needs them is skipped" >&2
    if command -v apt-get >/dev/null; then echo "fix: sudo apt-get install $list" >&2; fi
    exit 3
fi

echo "system packages: installing $list"
export DEBIAN_FRONTEND=noninteractive
output=$(mktemp)
trap 'rm -f "$output"' EXIT
begun=$SECONDS
if apt-get update >"$output" 2>&1 </dev/null &&
    apt-get install --yes --no-install-recommends "${absent[@]}" >>"$output" 2>&1 </dev/null; then
    echo "system packages: installed in $((SECONDS - begun)) s"
    exit 0
fi
tail -n 5 "$output" >&2
echo "system packages: $list could not be installed; what needs them is skipped" >&2
exit 3
