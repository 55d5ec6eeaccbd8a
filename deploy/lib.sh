# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# lib.sh - what deploy/quickstart, tests/run and tests/bench/run share: telling what is done, and
# installing Debian packages of the one list (deploy/packages) without touching any service.

sidepond_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() {
    printf '== %s\n' "$*"
}

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# packages_of SECTION...: the package names of these sections, each once.
packages_of() {
    local section
    for section in "$@"; do
        sed -n "/^\[$section\]/,/^\[/{/^[a-z0-9]/p}" "$sidepond_root/deploy/packages"
    done | LC_ALL=C sort -u
}

# packages_missing SECTION...: those of them that are not installed.
packages_missing() {
    comm -23 <(packages_of "$@") \
        <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' |
            LC_ALL=C sort -u)
}

# Nothing that is installed for the tests may start, now or at the next boot, and no database
# cluster may be made: a policy file, put up only where there is none, keeps services down;
# PostgreSQL, if it is among the packages, reads the other one. guard_down takes both away again.
guard_policy=/usr/sbin/policy-rc.d
guard_cluster=/etc/postgresql-common/createcluster.d/sidepond-no-cluster.conf
guard_files=()

# guard_up PACKAGE...: before these are installed.
guard_up() {
    if [ ! -e "$guard_policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$guard_policy" >/dev/null
        as_root chmod 755 "$guard_policy"
        guard_files+=("$guard_policy")
    fi
    [[ " $*" == *" postgresql"* ]] || return 0
    as_root mkdir -p "$(dirname "$guard_cluster")"
    echo 'create_main_cluster = false' | as_root tee "$guard_cluster" >/dev/null
    guard_files+=("$guard_cluster")
}

guard_down() {
    if [ ${#guard_files[@]} -gt 0 ]; then
        as_root rm -f "${guard_files[@]}"
        guard_files=()
    fi
}

# The services that the packages of the list bring. Those that a run of ours installed stay off at
# boot too; one that was there before is left as it is.
services=(postgresql redis-server memcached)

services_absent() {
    local service
    for service in "${services[@]}"; do
        [ -e "/lib/systemd/system/$service.service" ] || echo "$service"
    done
}

services_disable() {
    local service
    command -v systemctl >/dev/null || return 0
    for service in "$@"; do
        [ ! -e "/lib/systemd/system/$service.service" ] ||
            as_root systemctl --quiet disable "$service" 2>/dev/null || true
    done
}

# apt_get ...: quiet; what it said is shown where it fails.
apt_get() {
    local log
    log=$(mktemp)
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" \
        </dev/null >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        die "apt-get $1 failed"
    fi
    rm -f "$log"
}

# packages_install SECTION...: installs what is missing, and says so.
packages_install() {
    local missing=() absent=()
    command -v dpkg-query >/dev/null || die "this needs Debian 12 (no dpkg-query found)"
    mapfile -t missing < <(packages_missing "$@")
    if [ ${#missing[@]} -eq 0 ]; then
        say "packages: all of [$*] in deploy/packages are installed"
        return 0
    fi
    say "packages: installing ${missing[*]}"
    [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null ||
        die "neither root nor sudo here; as root: apt-get install ${missing[*]}"
    mapfile -t absent < <(services_absent)
    trap guard_down EXIT
    guard_up "${missing[@]}"
    apt_get update
    apt_get install -y --no-install-recommends "${missing[@]}"
    services_disable "${absent[@]}"
    guard_down
    trap - EXIT
}

# build_preset PRESET [cmake options]: configures and builds; the output goes to a log, which is
# shown where it fails.
build_preset() {
    local preset=$1 log=build/$1.log begun=$SECONDS
    shift
    mkdir -p build
    # A checkout that was moved or copied takes its build directories along, which is of no use.
    if ! grep -qsx "CMAKE_HOME_DIRECTORY:INTERNAL=$(pwd -P)" "build/$preset/CMakeCache.txt"; then
        rm -rf "build/$preset"
    fi
    say "building $preset (output: $log)"
    if ! { cmake --preset "$preset" "$@" && cmake --build --preset "$preset"; } \
        </dev/null >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        die "the build $preset failed (see $log)"
    fi
    say "built $preset in $((SECONDS - begun)) s"
}
