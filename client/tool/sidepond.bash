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
        -*) ;;
        *) if [ -z "$command" ]; then command=${COMP_WORDS[at]}; else ((arguments++)); fi ;;
        esac
    done
    # shellcheck disable=SC2207
    case $command:$before in
        *:--pond | *:-p) COMPREPLY=($(compgen -W "$(_sidepond_ponds)" -- "$word") $(compgen -d -- "$word")); return ;;
        *:--color) COMPREPLY=($(compgen -W "auto always never" -- "$word")); return ;;
        get:--index | get:-i) COMPREPLY=(); return ;;
        get:--column | get:-c) COMPREPLY=(); return ;;
        scan:--limit | scan:-n) COMPREPLY=(); return ;;
        scan:--columns | scan:-c) COMPREPLY=(); return ;;
        scan:--where | scan:-w) COMPREPLY=(); return ;;
        scan:--format | scan:-f) COMPREPLY=($(compgen -W "table tsv csv json" -- "$word")); return ;;
        watch:--interval | watch:-i) COMPREPLY=(); return ;;
        watch:--count | watch:-n) COMPREPLY=(); return ;;
        refresh:--wait | refresh:-w) COMPREPLY=(); return ;;
        confirm:--wait | confirm:-w) COMPREPLY=(); return ;;
        bench:--time | bench:-t) COMPREPLY=(); return ;;
        bench:--keys | bench:-n) COMPREPLY=(); return ;;
    esac
    local options="" names=""
    case $command in
    status) options="" ;;
    tables) options=" --names" ;;
    get) options=" --index -i --column -c --raw" ;;
    scan) options=" --limit -n --columns -c --where -w --format -f" ;;
    watch) options=" --interval -i --count -n" ;;
    readers) options="" ;;
    check) options=" --quiet -q" ;;
    refresh) options=" --wait -w" ;;
    confirm) options=" --wait -w" ;;
    hold) options="" ;;
    stat) options="" ;;
    plan) options="" ;;
    bench) options=" --time -t --keys -n" ;;
    completion) options="" ;;
    version) options="" ;;
    help) options="" ;;
    esac
    options+=" --pond -p --json -j --color --help -h"
    names="status tables get scan watch readers check refresh confirm hold stat plan bench completion version help"
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
    completion:0:*) COMPREPLY=($(compgen -W "bash zsh fish" -- "$word")) ;;
    help:0:*) COMPREPLY=($(compgen -W "status tables get scan watch readers check refresh confirm hold stat plan bench completion version help" -- "$word")) ;;
    *) COMPREPLY=() ;;
    esac
}
complete -F _sidepond sidepond
