#compdef sidepond
# SPDX-License-Identifier: Apache-2.0
# Completion of the sidepond tool for zsh; printed by: sidepond completion zsh
_sidepond_ponds() {
    compadd -- ${SIDEPOND_ROOT:-/dev/shm/sidepond}/*(N/:t)
    _files -/
}
_sidepond_tables() {
    local -a pond
    pond=(${opt_args[--pond]:-${opt_args[-p]}})
    compadd -- ${(f)"$(sidepond ${pond:+--pond=$pond} tables --names 2>/dev/null)"}
}
_sidepond() {
    local curcontext=$curcontext state line
    typeset -A opt_args
    local -a commands
    commands=(
        'status:the pond, its daemon, its memory and its tables'
        'tables:the tables, or one table'\''s columns and indexes'
        'get:one row by its key, or rows by an index'
        'scan:all rows of a table at one version'
        'watch:age and changes of the tables, live'
        'readers:who holds a snapshot'
        'check:walk through everything and verify it'
        'refresh:begin a full refresh of a table now'
        'confirm:let a refresh through that is held'
        'hold:let a table as it is, until refresh or confirm'
        'stat:where the memory is\: free blocks by size, tables'
        'plan:estimate the memory that a configuration needs'
        'bench:measure reads of existing keys'
        'completion:print the completion script for a shell'
        'version:print the version'
        'help:print help'
    )
    _arguments -C \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]' \
        '1: :->command' '*:: :->arguments'
    case $state in
    command) _describe command commands ;;
    arguments)
        case $line[1] in
        status) _arguments \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]' ;;
        tables) _arguments \
        '*--names[only the names, one a line]' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]' \
        '1:\[TABLE\]:_sidepond_tables' ;;
        get) _arguments \
        '*--index[look up by this secondary index; may find several rows]:NAME:' \
        '*-i[look up by this secondary index; may find several rows]:NAME:' \
        '*--column[print only this column'\''s value]:NAME:' \
        '*-c[print only this column'\''s value]:NAME:' \
        '*--raw[print bytes as they are, without a line end; without --column the encoded row]' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]' \
        '1:TABLE KEY...:_sidepond_tables' ;;
        scan) _arguments \
        '*--limit[at most so many rows]:COUNT:' \
        '*-n[at most so many rows]:COUNT:' \
        '*--columns[only these columns, in this order]:A,B:' \
        '*-c[only these columns, in this order]:A,B:' \
        '*--where[only rows with COLUMN=VALUE (or != < <= > >=); may be repeated]:CONDITION:' \
        '*-w[only rows with COLUMN=VALUE (or != < <= > >=); may be repeated]:CONDITION:' \
        '*--format[table (default on a terminal), tsv (default elsewhere), csv, json]:FORMAT:(table tsv csv json)' \
        '*-f[table (default on a terminal), tsv (default elsewhere), csv, json]:FORMAT:(table tsv csv json)' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]' \
        '1:TABLE:_sidepond_tables' ;;
        watch) _arguments \
        '*--interval[redraw at least so often (default 1s)]:TIME:' \
        '*-i[redraw at least so often (default 1s)]:TIME:' \
        '*--count[end after so many commits]:COUNT:' \
        '*-n[end after so many commits]:COUNT:' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]' ;;
        readers) _arguments \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]' ;;
        check) _arguments \
        '*--quiet[print nothing, only the exit code]' \
        '*-q[print nothing, only the exit code]' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]' ;;
        refresh) _arguments \
        '*--wait[wait for its end, at most so long, and say what it has changed]:TIME:' \
        '*-w[wait for its end, at most so long, and say what it has changed]:TIME:' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]' \
        '1:TABLE:_sidepond_tables' ;;
        confirm) _arguments \
        '*--wait[wait for its end, at most so long, and say what it has changed]:TIME:' \
        '*-w[wait for its end, at most so long, and say what it has changed]:TIME:' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]' \
        '1:TABLE:_sidepond_tables' ;;
        hold) _arguments \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]' \
        '1:TABLE:_sidepond_tables' ;;
        stat) _arguments \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]' ;;
        plan) _arguments \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]' \
        '1:CONFIG:_files' ;;
        bench) _arguments \
        '*--time[how long each measurement takes (default 1s)]:TIME:' \
        '*-t[how long each measurement takes (default 1s)]:TIME:' \
        '*--keys[read at most so many different keys (default 1000000)]:COUNT:' \
        '*-n[read at most so many different keys (default 1000000)]:COUNT:' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]' \
        '1:\[TABLE\]:_sidepond_tables' ;;
        completion) _arguments \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]' \
        '1:SHELL:(bash zsh fish)' ;;
        version) _arguments \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]' ;;
        help) _arguments \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]' \
        '1:\[COMMAND\]:(status tables get scan watch readers check refresh confirm hold stat plan bench completion version help)' ;;
        esac ;;
    esac
}
_sidepond "$@"
