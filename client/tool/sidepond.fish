# SPDX-License-Identifier: Apache-2.0
# Completion of the sidepond tool for fish; printed by: sidepond completion fish
function __sidepond_ponds
    set -l root /dev/shm/sidepond
    set -q SIDEPOND_ROOT; and set root $SIDEPOND_ROOT
    for file in $root/*/pond
        basename (dirname $file)
    end
end
function __sidepond_tables
    sidepond tables --names 2>/dev/null
end
complete -c sidepond -f
complete -c sidepond -l pond -s p -x -a '(__sidepond_ponds)' -d 'the pond: a name, or with a slash its directory (default: main)'
complete -c sidepond -l json -s j -d 'print JSON'
complete -c sidepond -l color -x -a 'auto always never' -d 'auto (default: on a terminal, unless NO_COLOR is set), always, never'
complete -c sidepond -l help -s h -d 'print what a command does and takes'
complete -c sidepond -n __fish_use_subcommand -a status -d 'the pond, its daemon, its memory and its tables'
complete -c sidepond -n __fish_use_subcommand -a tables -d 'the tables, or one table\'s columns and indexes'
complete -c sidepond -n '__fish_seen_subcommand_from tables' -a '(__sidepond_tables)'
complete -c sidepond -n '__fish_seen_subcommand_from tables' -l names -d 'only the names, one a line'
complete -c sidepond -n __fish_use_subcommand -a get -d 'one row by its key, or rows by an index'
complete -c sidepond -n '__fish_seen_subcommand_from get' -a '(__sidepond_tables)'
complete -c sidepond -n '__fish_seen_subcommand_from get' -l index -s i -x -d 'look up by this secondary index; may find several rows'
complete -c sidepond -n '__fish_seen_subcommand_from get' -l column -s c -x -d 'print only this column\'s value'
complete -c sidepond -n '__fish_seen_subcommand_from get' -l raw -d 'print bytes as they are, without a line end; without --column the encoded row'
complete -c sidepond -n __fish_use_subcommand -a scan -d 'all rows of a table at one version'
complete -c sidepond -n '__fish_seen_subcommand_from scan' -a '(__sidepond_tables)'
complete -c sidepond -n '__fish_seen_subcommand_from scan' -l limit -s n -x -d 'at most so many rows'
complete -c sidepond -n '__fish_seen_subcommand_from scan' -l columns -s c -x -d 'only these columns, in this order'
complete -c sidepond -n '__fish_seen_subcommand_from scan' -l where -s w -x -d 'only rows with COLUMN=VALUE (or != < <= > >=); may be repeated'
complete -c sidepond -n '__fish_seen_subcommand_from scan' -l format -s f -x -a 'table tsv csv json' -d 'table (default on a terminal), tsv (default elsewhere), csv, json'
complete -c sidepond -n __fish_use_subcommand -a watch -d 'age and changes of the tables, live'
complete -c sidepond -n '__fish_seen_subcommand_from watch' -l interval -s i -x -d 'redraw at least so often (default 1s)'
complete -c sidepond -n '__fish_seen_subcommand_from watch' -l count -s n -x -d 'end after so many commits'
complete -c sidepond -n __fish_use_subcommand -a readers -d 'who holds a snapshot'
complete -c sidepond -n __fish_use_subcommand -a check -d 'walk through everything and verify it'
complete -c sidepond -n '__fish_seen_subcommand_from check' -l quiet -s q -d 'print nothing, only the exit code'
complete -c sidepond -n __fish_use_subcommand -a refresh -d 'begin a full refresh of a table now'
complete -c sidepond -n '__fish_seen_subcommand_from refresh' -a '(__sidepond_tables)'
complete -c sidepond -n '__fish_seen_subcommand_from refresh' -l wait -s w -x -d 'wait for its end, at most so long, and say what it has changed'
complete -c sidepond -n __fish_use_subcommand -a confirm -d 'let a refresh through that is held'
complete -c sidepond -n '__fish_seen_subcommand_from confirm' -a '(__sidepond_tables)'
complete -c sidepond -n '__fish_seen_subcommand_from confirm' -l wait -s w -x -d 'wait for its end, at most so long, and say what it has changed'
complete -c sidepond -n __fish_use_subcommand -a hold -d 'let a table as it is, until refresh or confirm'
complete -c sidepond -n '__fish_seen_subcommand_from hold' -a '(__sidepond_tables)'
complete -c sidepond -n __fish_use_subcommand -a stat -d 'where the memory is: free blocks by size, tables'
complete -c sidepond -n __fish_use_subcommand -a plan -d 'estimate the memory that a configuration needs'
complete -c sidepond -n '__fish_seen_subcommand_from plan' -F
complete -c sidepond -n __fish_use_subcommand -a bench -d 'measure reads of existing keys'
complete -c sidepond -n '__fish_seen_subcommand_from bench' -a '(__sidepond_tables)'
complete -c sidepond -n '__fish_seen_subcommand_from bench' -l time -s t -x -d 'how long each measurement takes (default 1s)'
complete -c sidepond -n '__fish_seen_subcommand_from bench' -l keys -s n -x -d 'read at most so many different keys (default 1000000)'
complete -c sidepond -n __fish_use_subcommand -a completion -d 'print the completion script for a shell'
complete -c sidepond -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'
complete -c sidepond -n __fish_use_subcommand -a version -d 'print the version'
complete -c sidepond -n __fish_use_subcommand -a help -d 'print help'
complete -c sidepond -n '__fish_seen_subcommand_from help' -a 'status tables get scan watch readers check refresh confirm hold stat plan bench completion version help'
