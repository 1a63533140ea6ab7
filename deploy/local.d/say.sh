# shellcheck shell=bash
# What is said to the person at the terminal.

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' GREEN=$'\e[32m' PLAIN=$'\e[0m'
else
    BOLD='' DIM='' RED='' GREEN='' PLAIN=''
fi

step() { printf '%s==>%s %s\n' "$BOLD" "$PLAIN" "$*"; }
note() { printf '%s    %s%s\n' "$DIM" "$*" "$PLAIN"; }
warn() { printf '%s%s%s\n' "$RED" "$*" "$PLAIN" >&2; }
die() {
    printf '%sdeploy/local: %s%s\n' "$RED" "$*" "$PLAIN" >&2
    exit 1
}

# The last lines of a log, for a failure that its reader must be able to understand at once.
tail_log() {
    [ -s "$1" ] || return 0
    warn "the last lines of $1:"
    tail -n 20 "$1" >&2
}

# wants_help "$@": whether the first argument asks for help.
wants_help() { [ "${1:-}" = -h ] || [ "${1:-}" = --help ]; }
