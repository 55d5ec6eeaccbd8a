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
        'top:the pond, its cache server, commands and clients, live'
        'readers:who holds a snapshot'
        'check:walk through everything and verify it'
        'refresh:begin a full refresh of a table now'
        'confirm:let a refresh through that is held'
        'hold:let a table as it is, until refresh or confirm'
        'stat:where the memory is\: free blocks by size, tables'
        'plan:estimate the memory that a configuration needs'
        'bench:measure reads of existing keys'
        'ring:the nodes of a ring\: state, share, keys, memory, lag'
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
        local both="$words[1] $words[2]"
        case $both in
        'ring watch') if ((CURRENT > 2)); then shift words; ((CURRENT--)); _arguments \
        '*--interval[look so often (default 1s)]:TIME:' \
        '*-i[look so often (default 1s)]:TIME:' \
        '*--count[end after so many pictures or lines]:COUNT:' \
        '*-n[end after so many pictures or lines]:COUNT:' \
        '*--zookeeper[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*-z[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*--cluster[the ring'\''s name in ZooKeeper (default\: main)]:NAME:' \
        '*--credential-file[USER\:PASSWORD of ZooKeeper is the first line of this file]:FILE:_files' \
        '*--nodes[a ring without ZooKeeper\: NAME=ADDRESS\[@ZONE\]\[*WEIGHT\],...]:LIST:' \
        '*--redis[with --nodes\: they are Redis servers]' \
        '*--replicas[with --nodes\: copies of each key, 1 to 3 (default 2)]:COUNT:' \
        '*--slots[with --nodes\: slots, a power of two (default 16384)]:COUNT:' \
        '*--user[the user of the nodes (default\: default)]:NAME:' \
        '*-u[the user of the nodes (default\: default)]:NAME:' \
        '*--password-file[the nodes'\'' password is the first line of this file]:FILE:_files' \
        '*--timeout[how long a call may take (default 1s)]:TIME:' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]'; return; fi ;;
        'ring get') if ((CURRENT > 2)); then shift words; ((CURRENT--)); _arguments \
        '*--raw[print the value as it is, without a line end]' \
        '*--zookeeper[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*-z[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*--cluster[the ring'\''s name in ZooKeeper (default\: main)]:NAME:' \
        '*--credential-file[USER\:PASSWORD of ZooKeeper is the first line of this file]:FILE:_files' \
        '*--nodes[a ring without ZooKeeper\: NAME=ADDRESS\[@ZONE\]\[*WEIGHT\],...]:LIST:' \
        '*--redis[with --nodes\: they are Redis servers]' \
        '*--replicas[with --nodes\: copies of each key, 1 to 3 (default 2)]:COUNT:' \
        '*--slots[with --nodes\: slots, a power of two (default 16384)]:COUNT:' \
        '*--user[the user of the nodes (default\: default)]:NAME:' \
        '*-u[the user of the nodes (default\: default)]:NAME:' \
        '*--password-file[the nodes'\'' password is the first line of this file]:FILE:_files' \
        '*--timeout[how long a call may take (default 1s)]:TIME:' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]'; return; fi ;;
        'ring set') if ((CURRENT > 2)); then shift words; ((CURRENT--)); _arguments \
        '*--ttl[the key is gone after so long]:TIME:' \
        '*-t[the key is gone after so long]:TIME:' \
        '*--need[what the write needs to be good\: all copies (default) or one]:COPIES:(all one)' \
        '*--zookeeper[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*-z[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*--cluster[the ring'\''s name in ZooKeeper (default\: main)]:NAME:' \
        '*--credential-file[USER\:PASSWORD of ZooKeeper is the first line of this file]:FILE:_files' \
        '*--nodes[a ring without ZooKeeper\: NAME=ADDRESS\[@ZONE\]\[*WEIGHT\],...]:LIST:' \
        '*--redis[with --nodes\: they are Redis servers]' \
        '*--replicas[with --nodes\: copies of each key, 1 to 3 (default 2)]:COUNT:' \
        '*--slots[with --nodes\: slots, a power of two (default 16384)]:COUNT:' \
        '*--user[the user of the nodes (default\: default)]:NAME:' \
        '*-u[the user of the nodes (default\: default)]:NAME:' \
        '*--password-file[the nodes'\'' password is the first line of this file]:FILE:_files' \
        '*--timeout[how long a call may take (default 1s)]:TIME:' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]'; return; fi ;;
        'ring del') if ((CURRENT > 2)); then shift words; ((CURRENT--)); _arguments \
        '*--need[what the deletion needs to be good\: all copies (default) or one]:COPIES:(all one)' \
        '*--zookeeper[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*-z[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*--cluster[the ring'\''s name in ZooKeeper (default\: main)]:NAME:' \
        '*--credential-file[USER\:PASSWORD of ZooKeeper is the first line of this file]:FILE:_files' \
        '*--nodes[a ring without ZooKeeper\: NAME=ADDRESS\[@ZONE\]\[*WEIGHT\],...]:LIST:' \
        '*--redis[with --nodes\: they are Redis servers]' \
        '*--replicas[with --nodes\: copies of each key, 1 to 3 (default 2)]:COUNT:' \
        '*--slots[with --nodes\: slots, a power of two (default 16384)]:COUNT:' \
        '*--user[the user of the nodes (default\: default)]:NAME:' \
        '*-u[the user of the nodes (default\: default)]:NAME:' \
        '*--password-file[the nodes'\'' password is the first line of this file]:FILE:_files' \
        '*--timeout[how long a call may take (default 1s)]:TIME:' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]'; return; fi ;;
        'ring call') if ((CURRENT > 2)); then shift words; ((CURRENT--)); _arguments \
        '*--zookeeper[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*-z[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*--cluster[the ring'\''s name in ZooKeeper (default\: main)]:NAME:' \
        '*--credential-file[USER\:PASSWORD of ZooKeeper is the first line of this file]:FILE:_files' \
        '*--nodes[a ring without ZooKeeper\: NAME=ADDRESS\[@ZONE\]\[*WEIGHT\],...]:LIST:' \
        '*--redis[with --nodes\: they are Redis servers]' \
        '*--replicas[with --nodes\: copies of each key, 1 to 3 (default 2)]:COUNT:' \
        '*--slots[with --nodes\: slots, a power of two (default 16384)]:COUNT:' \
        '*--user[the user of the nodes (default\: default)]:NAME:' \
        '*-u[the user of the nodes (default\: default)]:NAME:' \
        '*--password-file[the nodes'\'' password is the first line of this file]:FILE:_files' \
        '*--timeout[how long a call may take (default 1s)]:TIME:' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]'; return; fi ;;
        'ring where') if ((CURRENT > 2)); then shift words; ((CURRENT--)); _arguments \
        '*--zookeeper[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*-z[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*--cluster[the ring'\''s name in ZooKeeper (default\: main)]:NAME:' \
        '*--credential-file[USER\:PASSWORD of ZooKeeper is the first line of this file]:FILE:_files' \
        '*--nodes[a ring without ZooKeeper\: NAME=ADDRESS\[@ZONE\]\[*WEIGHT\],...]:LIST:' \
        '*--redis[with --nodes\: they are Redis servers]' \
        '*--replicas[with --nodes\: copies of each key, 1 to 3 (default 2)]:COUNT:' \
        '*--slots[with --nodes\: slots, a power of two (default 16384)]:COUNT:' \
        '*--user[the user of the nodes (default\: default)]:NAME:' \
        '*-u[the user of the nodes (default\: default)]:NAME:' \
        '*--password-file[the nodes'\'' password is the first line of this file]:FILE:_files' \
        '*--timeout[how long a call may take (default 1s)]:TIME:' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]'; return; fi ;;
        'ring drain') if ((CURRENT > 2)); then shift words; ((CURRENT--)); _arguments \
        '*--wait[wait until the node holds nothing any more, at most so long]:TIME:' \
        '*-w[wait until the node holds nothing any more, at most so long]:TIME:' \
        '*--zookeeper[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*-z[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*--cluster[the ring'\''s name in ZooKeeper (default\: main)]:NAME:' \
        '*--credential-file[USER\:PASSWORD of ZooKeeper is the first line of this file]:FILE:_files' \
        '*--nodes[a ring without ZooKeeper\: NAME=ADDRESS\[@ZONE\]\[*WEIGHT\],...]:LIST:' \
        '*--redis[with --nodes\: they are Redis servers]' \
        '*--replicas[with --nodes\: copies of each key, 1 to 3 (default 2)]:COUNT:' \
        '*--slots[with --nodes\: slots, a power of two (default 16384)]:COUNT:' \
        '*--user[the user of the nodes (default\: default)]:NAME:' \
        '*-u[the user of the nodes (default\: default)]:NAME:' \
        '*--password-file[the nodes'\'' password is the first line of this file]:FILE:_files' \
        '*--timeout[how long a call may take (default 1s)]:TIME:' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]'; return; fi ;;
        'ring undrain') if ((CURRENT > 2)); then shift words; ((CURRENT--)); _arguments \
        '*--zookeeper[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*-z[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*--cluster[the ring'\''s name in ZooKeeper (default\: main)]:NAME:' \
        '*--credential-file[USER\:PASSWORD of ZooKeeper is the first line of this file]:FILE:_files' \
        '*--nodes[a ring without ZooKeeper\: NAME=ADDRESS\[@ZONE\]\[*WEIGHT\],...]:LIST:' \
        '*--redis[with --nodes\: they are Redis servers]' \
        '*--replicas[with --nodes\: copies of each key, 1 to 3 (default 2)]:COUNT:' \
        '*--slots[with --nodes\: slots, a power of two (default 16384)]:COUNT:' \
        '*--user[the user of the nodes (default\: default)]:NAME:' \
        '*-u[the user of the nodes (default\: default)]:NAME:' \
        '*--password-file[the nodes'\'' password is the first line of this file]:FILE:_files' \
        '*--timeout[how long a call may take (default 1s)]:TIME:' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]'; return; fi ;;
        'ring weight') if ((CURRENT > 2)); then shift words; ((CURRENT--)); _arguments \
        '*--zookeeper[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*-z[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*--cluster[the ring'\''s name in ZooKeeper (default\: main)]:NAME:' \
        '*--credential-file[USER\:PASSWORD of ZooKeeper is the first line of this file]:FILE:_files' \
        '*--nodes[a ring without ZooKeeper\: NAME=ADDRESS\[@ZONE\]\[*WEIGHT\],...]:LIST:' \
        '*--redis[with --nodes\: they are Redis servers]' \
        '*--replicas[with --nodes\: copies of each key, 1 to 3 (default 2)]:COUNT:' \
        '*--slots[with --nodes\: slots, a power of two (default 16384)]:COUNT:' \
        '*--user[the user of the nodes (default\: default)]:NAME:' \
        '*-u[the user of the nodes (default\: default)]:NAME:' \
        '*--password-file[the nodes'\'' password is the first line of this file]:FILE:_files' \
        '*--timeout[how long a call may take (default 1s)]:TIME:' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]'; return; fi ;;
        'ring repair') if ((CURRENT > 2)); then shift words; ((CURRENT--)); _arguments \
        '*--check[only compare; exit code 1 if something differs]' \
        '*-c[only compare; exit code 1 if something differs]' \
        '*--dry-run[count what would be copied, and copy nothing]' \
        '*--rate[copy at most so many keys a second (default 10000)]:COUNT:' \
        '*-r[copy at most so many keys a second (default 10000)]:COUNT:' \
        '*--stray[copy also keys that only nodes have that are none of their copies]' \
        '*--wait[of sidepondd nodes\: wait until all copies are equal, at most so long]:TIME:' \
        '*-w[of sidepondd nodes\: wait until all copies are equal, at most so long]:TIME:' \
        '*--zookeeper[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*-z[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*--cluster[the ring'\''s name in ZooKeeper (default\: main)]:NAME:' \
        '*--credential-file[USER\:PASSWORD of ZooKeeper is the first line of this file]:FILE:_files' \
        '*--nodes[a ring without ZooKeeper\: NAME=ADDRESS\[@ZONE\]\[*WEIGHT\],...]:LIST:' \
        '*--redis[with --nodes\: they are Redis servers]' \
        '*--replicas[with --nodes\: copies of each key, 1 to 3 (default 2)]:COUNT:' \
        '*--slots[with --nodes\: slots, a power of two (default 16384)]:COUNT:' \
        '*--user[the user of the nodes (default\: default)]:NAME:' \
        '*-u[the user of the nodes (default\: default)]:NAME:' \
        '*--password-file[the nodes'\'' password is the first line of this file]:FILE:_files' \
        '*--timeout[how long a call may take (default 1s)]:TIME:' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]'; return; fi ;;
        'ring drill') if ((CURRENT > 2)); then shift words; ((CURRENT--)); _arguments \
        '*--node[stop this node; it must run on this host]:NAME:' \
        '*--pid[its process, if it cannot be asked for that]:PID:' \
        '*--kill[kill it, instead of stopping it for a while]' \
        '*--time[how long it stands still, or how long to go on after a kill (default 3s)]:TIME:' \
        '*-t[how long it stands still, or how long to go on after a kill (default 3s)]:TIME:' \
        '*--wait[how long redundancy may take to be complete again (default 30s)]:TIME:' \
        '*-w[how long redundancy may take to be complete again (default 30s)]:TIME:' \
        '*--yes-this-is-a-test-ring[nobody else depends on this ring]' \
        '*--zookeeper[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*-z[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*--cluster[the ring'\''s name in ZooKeeper (default\: main)]:NAME:' \
        '*--credential-file[USER\:PASSWORD of ZooKeeper is the first line of this file]:FILE:_files' \
        '*--nodes[a ring without ZooKeeper\: NAME=ADDRESS\[@ZONE\]\[*WEIGHT\],...]:LIST:' \
        '*--redis[with --nodes\: they are Redis servers]' \
        '*--replicas[with --nodes\: copies of each key, 1 to 3 (default 2)]:COUNT:' \
        '*--slots[with --nodes\: slots, a power of two (default 16384)]:COUNT:' \
        '*--user[the user of the nodes (default\: default)]:NAME:' \
        '*-u[the user of the nodes (default\: default)]:NAME:' \
        '*--password-file[the nodes'\'' password is the first line of this file]:FILE:_files' \
        '*--timeout[how long a call may take (default 1s)]:TIME:' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]'; return; fi ;;
        esac
        case $line[1] in
        status) _arguments \
        '*--user[the user of the cache server (default\: default)]:NAME:' \
        '*-u[the user of the cache server (default\: default)]:NAME:' \
        '*--password-file[its password is the first line of this file]:FILE:_files' \
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
        '*--column[print only this column'\''s value, or a field'\''s of the document]:NAME:' \
        '*-c[print only this column'\''s value, or a field'\''s of the document]:NAME:' \
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
        top) _arguments \
        '*--interval[look so often (default 1s)]:TIME:' \
        '*-i[look so often (default 1s)]:TIME:' \
        '*--once[print one picture as text, after one interval]' \
        '*--count[end after so many pictures or objects]:COUNT:' \
        '*-n[end after so many pictures or objects]:COUNT:' \
        '*--sort[order of the commands\: calls (default), time, p99, name]:ORDER:(calls time p99 name)' \
        '*-s[order of the commands\: calls (default), time, p99, name]:ORDER:(calls time p99 name)' \
        '*--user[the user of the cache server (default\: default)]:NAME:' \
        '*-u[the user of the cache server (default\: default)]:NAME:' \
        '*--password-file[its password is the first line of this file]:FILE:_files' \
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
        '*--user[the user of the cache server (default\: default)]:NAME:' \
        '*-u[the user of the cache server (default\: default)]:NAME:' \
        '*--password-file[its password is the first line of this file]:FILE:_files' \
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
        '*--user[the user of the cache server (default\: default)]:NAME:' \
        '*-u[the user of the cache server (default\: default)]:NAME:' \
        '*--password-file[its password is the first line of this file]:FILE:_files' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]' \
        '1:TABLE:_sidepond_tables' ;;
        hold) _arguments \
        '*--user[the user of the cache server (default\: default)]:NAME:' \
        '*-u[the user of the cache server (default\: default)]:NAME:' \
        '*--password-file[its password is the first line of this file]:FILE:_files' \
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
        ring) _arguments \
        '*--wait[wait until redundancy is complete, at most so long]:TIME:' \
        '*-w[wait until redundancy is complete, at most so long]:TIME:' \
        '*--members[it is not complete with fewer nodes than this]:COUNT:' \
        '*-m[it is not complete with fewer nodes than this]:COUNT:' \
        '*--zookeeper[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*-z[the ring is found there\: HOST\:PORT,...\[/CHROOT\]]:HOSTS:' \
        '*--cluster[the ring'\''s name in ZooKeeper (default\: main)]:NAME:' \
        '*--credential-file[USER\:PASSWORD of ZooKeeper is the first line of this file]:FILE:_files' \
        '*--nodes[a ring without ZooKeeper\: NAME=ADDRESS\[@ZONE\]\[*WEIGHT\],...]:LIST:' \
        '*--redis[with --nodes\: they are Redis servers]' \
        '*--replicas[with --nodes\: copies of each key, 1 to 3 (default 2)]:COUNT:' \
        '*--slots[with --nodes\: slots, a power of two (default 16384)]:COUNT:' \
        '*--user[the user of the nodes (default\: default)]:NAME:' \
        '*-u[the user of the nodes (default\: default)]:NAME:' \
        '*--password-file[the nodes'\'' password is the first line of this file]:FILE:_files' \
        '*--timeout[how long a call may take (default 1s)]:TIME:' \
        '*--pond[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*-p[the pond\: a name, or with a slash its directory (default\: main)]:NAME|DIR:_sidepond_ponds' \
        '*--json[print JSON]' \
        '*-j[print JSON]' \
        '*--color[auto (default\: on a terminal, unless NO_COLOR is set), always, never]:WHEN:(auto always never)' \
        '*--help[print what a command does and takes]' \
        '*-h[print what a command does and takes]' \
        '1:SUBCOMMAND:(watch get set del call where drain undrain weight repair drill)' ;;
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
        '1:\[COMMAND\]:(status tables get scan watch top readers check refresh confirm hold stat plan bench ring completion version help)' ;;
        esac ;;
    esac
}
_sidepond "$@"
