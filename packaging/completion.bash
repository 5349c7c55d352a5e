# Completion in bash for socketserver and socketserverctl. Where bash-completion is
# installed it finds this file by itself; otherwise, and in the sources:
#
#   source packaging/completion.bash
#
# What there is to complete comes from --help of the very program that is called, which is
# asked once in a shell.

declare -gA _socketserver_help

# Sets `help` to what --help of the program $1 prints.
_socketserver_ask() {
    local program=${1/#\~/$HOME}
    if [[ -z ${_socketserver_help[$program]} ]]; then
        _socketserver_help[$program]=$(COLUMNS=100 "$program" --help 2>/dev/null)
    fi
    help=${_socketserver_help[$program]}
}

# $1: words to choose from. Not by compgen -W, which would do what they say.
_socketserver_words() {
    local word words
    read -r -d '' -a words <<<"$1"
    for word in "${words[@]}"; do
        [[ $word == "$current"* ]] && COMPREPLY+=("$word")
    done
}

# $1: f for files, d for directories, u for users, g for groups.
_socketserver_names() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen "-$1" -- "$current")
}

# The control sockets of pools that run: unix sockets with their permissions on which a
# process of tclsh listens that this user may look into. Any user can make some: only names
# that mean nothing to a shell.
_socketserver_pools() {
    local pids
    # shellcheck disable=SC2012 # names of /proc are plain, and ls reads all of its links at once
    pids=$(ls -l /proc/[0-9]*/exe 2>/dev/null |
        sed -n 's,.* /proc/\([0-9]*\)/exe -> .*/tclsh[^/]*$,\1,p')
    [[ -n $pids ]] || return
    # shellcheck disable=SC2012,SC2046,SC2086 # some numbers
    ls -l $(printf '/proc/%s/fd ' $pids) 2>/dev/null |
        sed -n 's/.* -> socket:\[\([0-9]*\)\]$/\1/p' |
        awk 'NR == FNR { held[$1]; next }
            $4 == "00010000" && $7 in held && $8 ~ /^[-\/A-Za-z0-9._@+:]+$/ { print $8 }
            ' - /proc/net/unix |
        sort -u |
        while IFS= read -r path; do
            find "$path" -maxdepth 0 -type s -perm 0600 2>/dev/null
        done
}

# The values of the option $1 of socketserver; fails if it has none to choose from.
_socketserver_value() {
    case $1 in
    --mode) _socketserver_words "prefork perconnection" ;;
    --overload) _socketserver_words "queue refuse" ;;
    --onparentexit) _socketserver_words "finish drain" ;;
    --proxyprotocol) _socketserver_words "off on require" ;;
    --loglevel) _socketserver_words "debug info notice warn error critical alert emergency" ;;
    --config | --pidfile | --logfile | --control) _socketserver_names f ;;
    --chdir) _socketserver_names d ;;
    --user) _socketserver_names u ;;
    --group) _socketserver_names g ;;
    *) return 1 ;;
    esac
}

# Whether the option $1 takes a value that is a word of its own.
_socketserver_takes_value() {
    [[ $help =~ (^|$'\n')"  "(-[a-z], )?"$1 "[^\ ] ]]
}

# The index of the application among the words, if it is there already.
_socketserver_application() {
    local index
    for ((index = 1; index < COMP_CWORD; index++)); do
        case ${COMP_WORDS[index]} in
        --)
            echo $((index + 1))
            return
            ;;
        -*)
            if [[ ${COMP_WORDS[index + 1]} == "=" ]]; then
                ((index += 2))
            elif _socketserver_takes_value "-${COMP_WORDS[index]/#--/-}"; then
                ((index++))
            fi
            ;;
        *)
            echo "$index"
            return
            ;;
        esac
    done
}

_socketserver() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} help
    COMPREPLY=()
    _socketserver_ask "$1"
    # Bash makes three words of --name=value.
    if [[ $current == "=" ]]; then
        current=
    elif [[ $previous == "=" ]]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    [[ $previous == -* ]] && previous=-${previous/#--/-}
    if [[ -n $(_socketserver_application) ]]; then
        _socketserver_names f
    elif _socketserver_value "$previous"; then
        :
    elif [[ $previous == --* ]] && _socketserver_takes_value "$previous"; then
        :
    elif [[ $current == -* ]]; then
        _socketserver_words "$(grep -Eo '^  (-., )?--[a-z]+' <<<"$help" | grep -o -e '--[a-z]*')"
    else
        _socketserver_names f
    fi
}

_socketserverctl() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} help
    local index=1 command
    COMPREPLY=()
    _socketserver_ask "$1"
    while [[ $index -lt $COMP_CWORD && ${COMP_WORDS[index]} == -* ]]; do
        [[ ${COMP_WORDS[index]} == -*control ]] && ((index++))
        ((index++))
    done
    command=${COMP_WORDS[index]}
    if [[ $previous == -control || $previous == --control ]]; then
        _socketserver_words "$(_socketserver_pools)"
        if [[ ${#COMPREPLY[@]} -eq 0 ]]; then
            _socketserver_names f
        fi
    elif [[ $index -lt $COMP_CWORD ]]; then
        _socketserver_words \
            "$(grep "^  $command " <<<"$help" | grep -Eo -e '\?-+[a-z]+' | tr -d '?')"
    elif [[ $current == -* ]]; then
        _socketserver_words "-control --version --help"
    else
        _socketserver_words "$(sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' <<<"$help")"
    fi
}

complete -F _socketserver socketserver
complete -F _socketserverctl socketserverctl
