# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Completion of the sidepond tool for bash; printed by: sidepond completion bash
_sidepond_ponds() {
    local file
    for file in "${SIDEPOND_ROOT:-/dev/shm/sidepond}"/*/pond; do
        file=${file%/pond} && [ -e "$file" ] && echo "${file##*/}"
    done
}
_sidepond() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local command='' arguments=0 at pond=()
    for ((at = 1; at < COMP_CWORD; at++)); do
        case ${COMP_WORDS[at]} in
        -p | --pond) pond=(--pond "${COMP_WORDS[at + 1]}") && ((at++)) ;;
        --zookeeper | -z | --cluster | --credential-file | --nodes | --replicas | --slots | --user | -u | --password-file | --timeout) ((at++)) ;;
        -*) ;;
        *)
            case $command${command:+ ${COMP_WORDS[at]}} in
            '') command=${COMP_WORDS[at]} ;;
            ring\ watch | ring\ get | ring\ set | ring\ del | ring\ call | ring\ where | ring\ drain | ring\ undrain | ring\ weight | ring\ repair | ring\ drill) command+=" ${COMP_WORDS[at]}" ;;
            *) ((arguments++)) ;;
            esac
            ;;
        esac
    done
    # shellcheck disable=SC2207
    case $command:$before in
        *:--pond | *:-p) COMPREPLY=($(compgen -W "$(_sidepond_ponds)" -- "$word") $(compgen -d -- "$word")); return ;;
        *:--color) COMPREPLY=($(compgen -W "auto always never" -- "$word")); return ;;
        status:--user | status:-u) COMPREPLY=(); return ;;
        status:--password-file) COMPREPLY=($(compgen -f -- "$word")); return ;;
        get:--index | get:-i) COMPREPLY=(); return ;;
        get:--column | get:-c) COMPREPLY=(); return ;;
        scan:--limit | scan:-n) COMPREPLY=(); return ;;
        scan:--columns | scan:-c) COMPREPLY=(); return ;;
        scan:--where | scan:-w) COMPREPLY=(); return ;;
        scan:--format | scan:-f) COMPREPLY=($(compgen -W "table tsv csv json" -- "$word")); return ;;
        watch:--interval | watch:-i) COMPREPLY=(); return ;;
        watch:--count | watch:-n) COMPREPLY=(); return ;;
        top:--interval | top:-i) COMPREPLY=(); return ;;
        top:--count | top:-n) COMPREPLY=(); return ;;
        top:--sort | top:-s) COMPREPLY=($(compgen -W "calls time p99 name" -- "$word")); return ;;
        top:--user | top:-u) COMPREPLY=(); return ;;
        top:--password-file) COMPREPLY=($(compgen -f -- "$word")); return ;;
        refresh:--wait | refresh:-w) COMPREPLY=(); return ;;
        refresh:--user | refresh:-u) COMPREPLY=(); return ;;
        refresh:--password-file) COMPREPLY=($(compgen -f -- "$word")); return ;;
        confirm:--wait | confirm:-w) COMPREPLY=(); return ;;
        confirm:--user | confirm:-u) COMPREPLY=(); return ;;
        confirm:--password-file) COMPREPLY=($(compgen -f -- "$word")); return ;;
        hold:--user | hold:-u) COMPREPLY=(); return ;;
        hold:--password-file) COMPREPLY=($(compgen -f -- "$word")); return ;;
        bench:--time | bench:-t) COMPREPLY=(); return ;;
        bench:--keys | bench:-n) COMPREPLY=(); return ;;
        ring:--wait | ring:-w) COMPREPLY=(); return ;;
        ring:--members | ring:-m) COMPREPLY=(); return ;;
        ring\ watch:--interval | ring\ watch:-i) COMPREPLY=(); return ;;
        ring\ watch:--count | ring\ watch:-n) COMPREPLY=(); return ;;
        ring\ set:--ttl | ring\ set:-t) COMPREPLY=(); return ;;
        ring\ set:--need) COMPREPLY=($(compgen -W "all one" -- "$word")); return ;;
        ring\ del:--need) COMPREPLY=($(compgen -W "all one" -- "$word")); return ;;
        ring\ drain:--wait | ring\ drain:-w) COMPREPLY=(); return ;;
        ring\ repair:--rate | ring\ repair:-r) COMPREPLY=(); return ;;
        ring\ repair:--wait | ring\ repair:-w) COMPREPLY=(); return ;;
        ring\ drill:--node) COMPREPLY=(); return ;;
        ring\ drill:--pid) COMPREPLY=(); return ;;
        ring\ drill:--time | ring\ drill:-t) COMPREPLY=(); return ;;
        ring\ drill:--wait | ring\ drill:-w) COMPREPLY=(); return ;;
        ring*:--zookeeper | ring*:-z) COMPREPLY=(); return ;;
        ring*:--cluster) COMPREPLY=(); return ;;
        ring*:--credential-file) COMPREPLY=($(compgen -f -- "$word")); return ;;
        ring*:--nodes) COMPREPLY=(); return ;;
        ring*:--replicas) COMPREPLY=(); return ;;
        ring*:--slots) COMPREPLY=(); return ;;
        ring*:--user | ring*:-u) COMPREPLY=(); return ;;
        ring*:--password-file) COMPREPLY=($(compgen -f -- "$word")); return ;;
        ring*:--timeout) COMPREPLY=(); return ;;
    esac
    local options="" names=""
    case $command in
    status) options=" --user -u --password-file" ;;
    tables) options=" --names" ;;
    get) options=" --index -i --column -c --raw" ;;
    scan) options=" --limit -n --columns -c --where -w --format -f" ;;
    watch) options=" --interval -i --count -n" ;;
    top) options=" --interval -i --once --count -n --sort -s --user -u --password-file" ;;
    readers) options="" ;;
    check) options=" --quiet -q" ;;
    refresh) options=" --wait -w --user -u --password-file" ;;
    confirm) options=" --wait -w --user -u --password-file" ;;
    hold) options=" --user -u --password-file" ;;
    stat) options="" ;;
    plan) options="" ;;
    bench) options=" --time -t --keys -n" ;;
    ring) options=" --wait -w --members -m --zookeeper -z --cluster --credential-file --nodes --redis --replicas --slots --user -u --password-file --timeout" ;;
    ring\ watch) options=" --interval -i --count -n --zookeeper -z --cluster --credential-file --nodes --redis --replicas --slots --user -u --password-file --timeout" ;;
    ring\ get) options=" --raw --zookeeper -z --cluster --credential-file --nodes --redis --replicas --slots --user -u --password-file --timeout" ;;
    ring\ set) options=" --ttl -t --need --zookeeper -z --cluster --credential-file --nodes --redis --replicas --slots --user -u --password-file --timeout" ;;
    ring\ del) options=" --need --zookeeper -z --cluster --credential-file --nodes --redis --replicas --slots --user -u --password-file --timeout" ;;
    ring\ call) options=" --zookeeper -z --cluster --credential-file --nodes --redis --replicas --slots --user -u --password-file --timeout" ;;
    ring\ where) options=" --zookeeper -z --cluster --credential-file --nodes --redis --replicas --slots --user -u --password-file --timeout" ;;
    ring\ drain) options=" --wait -w --zookeeper -z --cluster --credential-file --nodes --redis --replicas --slots --user -u --password-file --timeout" ;;
    ring\ undrain) options=" --zookeeper -z --cluster --credential-file --nodes --redis --replicas --slots --user -u --password-file --timeout" ;;
    ring\ weight) options=" --zookeeper -z --cluster --credential-file --nodes --redis --replicas --slots --user -u --password-file --timeout" ;;
    ring\ repair) options=" --check -c --dry-run --rate -r --stray --wait -w --zookeeper -z --cluster --credential-file --nodes --redis --replicas --slots --user -u --password-file --timeout" ;;
    ring\ drill) options=" --node --pid --kill --time -t --wait -w --yes-this-is-a-test-ring --zookeeper -z --cluster --credential-file --nodes --redis --replicas --slots --user -u --password-file --timeout" ;;
    completion) options="" ;;
    version) options="" ;;
    help) options="" ;;
    esac
    options+=" --pond -p --json -j --color --help -h"
    names="status tables get scan watch top readers check refresh confirm hold stat plan bench ring completion version help"
    # shellcheck disable=SC2207
    case $command:$arguments:$word in
    *:*:-*) COMPREPLY=($(compgen -W "$options" -- "$word")) ;;
    :*) COMPREPLY=($(compgen -W "$names" -- "$word")) ;;
    tables:0:*) COMPREPLY=($(compgen -W "$(sidepond "${pond[@]}" tables --names 2>/dev/null)" -- "$word")) ;;
    get:0:*) COMPREPLY=($(compgen -W "$(sidepond "${pond[@]}" tables --names 2>/dev/null)" -- "$word")) ;;
    scan:0:*) COMPREPLY=($(compgen -W "$(sidepond "${pond[@]}" tables --names 2>/dev/null)" -- "$word")) ;;
    refresh:0:*) COMPREPLY=($(compgen -W "$(sidepond "${pond[@]}" tables --names 2>/dev/null)" -- "$word")) ;;
    confirm:0:*) COMPREPLY=($(compgen -W "$(sidepond "${pond[@]}" tables --names 2>/dev/null)" -- "$word")) ;;
    hold:0:*) COMPREPLY=($(compgen -W "$(sidepond "${pond[@]}" tables --names 2>/dev/null)" -- "$word")) ;;
    plan:0:*) COMPREPLY=($(compgen -f -- "$word")) ;;
    bench:0:*) COMPREPLY=($(compgen -W "$(sidepond "${pond[@]}" tables --names 2>/dev/null)" -- "$word")) ;;
    ring:0:*) COMPREPLY=($(compgen -W "watch get set del call where drain undrain weight repair drill" -- "$word")) ;;
    completion:0:*) COMPREPLY=($(compgen -W "bash zsh fish" -- "$word")) ;;
    help:0:*) COMPREPLY=($(compgen -W "status tables get scan watch top readers check refresh confirm hold stat plan bench ring completion version help" -- "$word")) ;;
    *) COMPREPLY=() ;;
    esac
}
complete -F _sidepond sidepond
