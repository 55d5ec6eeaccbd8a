# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# spin.sh - how a model is searched by spin; sourced by a script that has set `model`, the name of
# a file beside it, and `table`, the bits of a hash of its states. A variant that is broken on
# purpose is found soon, so its search is compiled quickly; `optimise` is for those that hold.
set -eu
: "${model:?}" "${table:?}" "${optimise:?}"

name=${model%.pml}
model=$(cd "$(dirname "$0")" && pwd)/$model
command -v spin >/dev/null || { echo "spin is not here"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/sidepond-$name-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

# search HOW FLAG...: leaves spin's summary in pan.txt; true if there is no error. HOW is for cc.
search()
{
    how=$1
    shift
    rm -f pan pan.* ./*.trail
    spin -a "$@" "$model" >spin.txt 2>&1 || { cat spin.txt; exit 1; }
    "${CC:-cc}" "$how" -w -DSAFETY -DCOLLAPSE -DMEMLIM=1900 -o pan pan.c
    ./pan -m2000000 "-w$table" >pan.txt 2>&1
    grep -Eq '^State-vector .* errors: [0-9]+' pan.txt || { cat pan.txt; exit 1; }
    # A search that was cut short proves nothing.
    if grep -q 'errors: 0' pan.txt && grep -Eq 'max search depth too small|out of memory|Search not completed' pan.txt; then
        cat pan.txt
        exit 1
    fi
    grep -q 'errors: 0' pan.txt
}

holds()
{
    if ! search "$optimise" "$@"; then
        cat pan.txt
        spin -t -p -k ./*.trail "$@" "$model" | grep -E 'proc +[0-9]' | tail -100
        echo "$name: not so with $*"
        exit 1
    fi
    echo "holds $*: $(sed -n 's/ states, stored.*//p' pan.txt | tr -d ' ') states"
}

fails()
{
    if search -O0 "$@"; then
        echo "$name: $* is not found"
        exit 1
    fi
    echo "found $*"
}
