# shellcheck shell=bash
# demo, chaos: the script starts the servers, a program of the bench crate does the rest.

run_demo() {
    if wants_help "$@"; then
        cat <<'TEXT'
Usage: deploy/local demo [--recipients N] [--csv FILE] [--smtp URL] [--exit]

Builds, starts the stack, uploads a contact file, sends a campaign to it while showing its progress, prints the balance, and
keeps serving until Ctrl-C.
  --recipients N   generated sample contacts (default 10000)
  --csv FILE       your own file, with a header line; a column named email is needed
  --smtp URL       a relay of yours instead of the bundled sink: smtp://host:port
  --exit           ends with the campaign; the exit code is 0 if it balances and nobody got it twice
TEXT
        return 0
    fi
    local arguments=() leave=''
    while [ $# -gt 0 ]; do
        case $1 in
            --exit) leave=yes && arguments+=(--exit) ;;
            --recipients | --smtp)
                [ $# -gt 1 ] || die "$1 needs a value; see deploy/local demo --help"
                arguments+=("$1" "$2") && shift
                ;;
            --csv)
                [ $# -gt 1 ] || die "--csv needs a file; see deploy/local demo --help"
                [ -r "$2" ] || die "cannot read $2"
                arguments+=(--csv "$(cd "$(dirname "$2")" && pwd)/$(basename "$2")") && shift
                ;;
            --recipients=* | --csv=* | --smtp=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" && continue ;;
            *) die "demo does not know $1; see deploy/local demo --help" ;;
        esac
        shift
    done
    require_servers
    build
    use_stack main
    lock_stack
    stack_up
    write_stack_file
    unlock_stack
    trap end_demo EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    local status=0
    "$BIN/mochila-demo" campaign --credentials "$LOCAL/stack.env" ${arguments[@]+"${arguments[@]}"} || status=$?
    [ -z "$leave" ] || exit "$status"
    [ "$status" = 0 ] || warn "the demo did not end well; see deploy/local logs"
    step "Serving at $MOCHILA_URL until Ctrl-C"
    trap 'exit 0' INT TERM
    while :; do sleep 3600 & wait $!; done
}

# Stops what this call started; a stack that was up before stays up.
end_demo() {
    local status=$?
    # A second Ctrl-C does not end the tidying.
    trap - EXIT
    trap '' INT TERM
    kill $! 2>/dev/null || true
    if [ -z "$STARTED" ]; then
        note "the stack was up before and stays up"
    else
        step "Stopping what the demo started"
        stop_these "$STARTED"
        pid_of api >/dev/null || rm -f "$LOCAL/stack.env"
    fi
    exit "$status"
}

run_chaos() {
    if wants_help "$@"; then
        cat <<'TEXT'
Usage: deploy/local chaos [--list] [--only NAME]... [--recipients N] [--seconds N]

Sends a campaign to 20,000 recipients per scenario, through real processes on a stack of its own, and in the middle of it kills,
freezes or restarts a part; then checks that the campaign ends, balances, has lost nobody, sent nothing twice and left no more
in doubt than the connections of the dead process allow. The table is also written to .local/chaos.json, the logs to
.local/chaos/logs/SCENARIO/.
  --list           names the scenarios
  --only NAME      runs this one; may be repeated
  --recipients N   recipients of a campaign (default 20000)
  --seconds N      how long an undisturbed campaign lasts: the sink delays each reply for it (default 40)
TEXT
        return 0
    fi
    if [ "${1:-}" = --list ]; then
        build >&2
        exec "$BIN/mochila-chaos" --list
    fi
    private_stack chaos
    export MOCHILA_SENDING__CONNECTIONS=${MOCHILA_SENDING__CONNECTIONS:-32}
    export_addresses
    start_servers
    export_settings
    prepare_database
    start_dns
    export CHAOS_SERVER="$ROOT/deploy/local" CHAOS_PIDS=$STATE/pids CHAOS_BIN=$BIN CHAOS_LOGS=$STATE/logs CHAOS_REPORT=$LOCAL/chaos.json
    export CHAOS_CONNECTIONS=$MOCHILA_SENDING__CONNECTIONS CHAOS_PSQL
    CHAOS_PSQL=$(postgres_tool psql)
    export CHAOS_WORKER_METRICS="127.0.0.1:$WORKER_1_METRICS_PORT 127.0.0.1:$WORKER_2_METRICS_PORT"
    local status=0
    "$BIN/mochila-chaos" "$@" 9>&- || status=$?
    exit "$status"
}

# A stack that starts from nothing and is stopped whatever happens.
private_stack() {
    require_servers
    build
    use_stack "$1"
    lock_stack
    stack_down
    forget_stack
    use_stack "$1"
    lock_stack
    STARTED=''
    trap end_private_stack EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

end_private_stack() {
    local status=$?
    # A second Ctrl-C does not end the tidying.
    trap - EXIT
    trap '' INT TERM
    # Silently: the last line of a run is its result.
    stack_down
    rm -rf "$DATA" "$STATE/objects"
    rmdir "$(dirname "$DATA")" 2>/dev/null || true
    exit "$status"
}

# server STACK start-redis|stop-redis|restart-postgres [fast|immediate]: for mochila-chaos.
run_server() {
    use_stack "${1:?a stack}"
    case ${2:-} in
        start-redis) redis_start ;;
        stop-redis) redis_stop ;;
        restart-postgres) postgres_restart "${3:-fast}" ;;
        *) die "server does not know ${2:-}" ;;
    esac
}
