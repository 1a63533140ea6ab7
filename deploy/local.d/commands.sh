# shellcheck shell=bash
# up, down, status, logs, psql, redis-cli.

run_up() {
    if wants_help "$@"; then
        cat <<'TEXT'
Usage: deploy/local up

Builds, then starts what does not run of PostgreSQL, Redis, the sink, the name server, the api and two workers, in the background, and writes
.local/stack.env (addresses, credentials, pids). Nothing is restarted by itself: run it again to start what is missing.
TEXT
        return 0
    fi
    [ $# = 0 ] || die "up takes no arguments; see deploy/local up --help"
    require_servers
    build
    use_stack main
    lock_stack
    stack_up
    write_stack_file
    unlock_stack
    table_of_stack
    note "Credentials and addresses: $LOCAL/stack.env"
}

run_down() {
    if wants_help "$@"; then
        cat <<'TEXT'
Usage: deploy/local down [--wipe]

Stops the stack: the workers first, PostgreSQL last.
  --wipe   also removes the data, logs, keys and ports of every stack of this checkout (main, test, chaos, bench)
TEXT
        return 0
    fi
    local wipe=''
    [ "${1:-}" = --wipe ] && wipe=yes && shift
    [ $# = 0 ] || die "down knows only --wipe; see deploy/local down --help"
    use_stack main
    lock_stack
    step "Stopping the stack"
    stack_down
    rm -f "$LOCAL/stack.env"
    [ -n "$wipe" ] || return 0
    local stack folder
    folder=$(data_folder)
    for stack in test chaos bench; do
        [ -d "$LOCAL/$stack/pids" ] || continue
        use_stack "$stack"
        stack_down
    done
    rm -rf "$LOCAL" "$folder"
    note "Removed $LOCAL and $folder"
}

run_status() {
    if wants_help "$@"; then
        echo "Usage: deploy/local status: each process of the stack, its pid, its address, and whether it answers"
        return 0
    fi
    [ -d "$LOCAL/main" ] || die "no stack was started in this checkout: deploy/local up"
    use_stack main
    table_of_stack
}

table_of_stack() {
    printf '%s%-10s %8s  %-34s %s%s\n' "$BOLD" process pid address state "$PLAIN"
    status_row postgres "127.0.0.1:$POSTGRES_PORT" true
    status_row redis "127.0.0.1:$REDIS_PORT" redis_answers
    status_row sink "127.0.0.1:$SINK_SMTP_PORT, http $SINK_HTTP_PORT" http_ok "127.0.0.1:$SINK_HTTP_PORT" /stats
    status_row dns "127.0.0.1:$DNS_PORT" listens "$DNS_PORT"
    status_row api "http://127.0.0.1:$API_PORT" http_ok "127.0.0.1:$API_PORT" /ready
    status_row worker-1 "metrics http://127.0.0.1:$WORKER_1_METRICS_PORT" http_ok "127.0.0.1:$WORKER_1_METRICS_PORT" /metrics
    status_row worker-2 "metrics http://127.0.0.1:$WORKER_2_METRICS_PORT" http_ok "127.0.0.1:$WORKER_2_METRICS_PORT" /metrics
}

# status_row NAME ADDRESS COMMAND...: healthy is what the command says.
status_row() {
    local name=$1 address=$2 pid state="${RED}does not answer$PLAIN"
    shift 2
    if ! pid=$(pid_of "$name"); then
        pid=- state="${DIM}stopped$PLAIN"
    elif [ "$name" = postgres ] && ! postgres_query mochila 'SELECT 1' >/dev/null 2>&1; then
        :
    elif "$@"; then
        state="${GREEN}healthy$PLAIN"
    fi
    printf '%-10s %8s  %-34s %s\n' "$name" "$pid" "$address" "$state"
}

run_logs() {
    if wants_help "$@"; then
        cat <<'TEXT'
Usage: deploy/local logs [NAME] [-f]

Prints the last 200 lines of each log of the stack, or of NAME: api, worker-1, worker-2, sink, dns, postgres, redis, migrate.
  -f   goes on as lines are added
TEXT
        return 0
    fi
    local name='' follow=''
    while [ $# -gt 0 ]; do
        case $1 in
            -f) follow=-f ;;
            -*) die "logs does not know $1; see deploy/local logs --help" ;;
            *) name=$1 ;;
        esac
        shift
    done
    [ -d "$LOCAL/main" ] || die "no stack was started in this checkout: deploy/local up"
    use_stack main
    if [ -n "$name" ]; then
        [ -e "$STATE/logs/$name.log" ] || die "there is no log $name: $(cd "$STATE/logs" && printf '%s ' *.log)"
        exec tail -n 200 ${follow:+"$follow"} "$STATE/logs/$name.log"
    fi
    exec tail -n 200 ${follow:+"$follow"} "$STATE"/logs/*.log
}

run_psql() {
    if wants_help "$@"; then
        echo "Usage: deploy/local psql [PSQL OPTIONS]: a prompt in the database of the stack that up started"
        return 0
    fi
    running_stack
    exec "$(postgres_tool psql)" "$DATABASE_URL" "$@"
}

run_redis_cli() {
    if wants_help "$@"; then
        echo "Usage: deploy/local redis-cli [COMMAND]: a prompt in the Redis of the stack that up started"
        return 0
    fi
    running_stack
    REDISCLI_AUTH=$REDIS_PASSWORD exec redis-cli -p "$REDIS_PORT" "$@"
}

running_stack() {
    [ -d "$LOCAL/main" ] || die "no stack was started in this checkout: deploy/local up"
    use_stack main
    pid_of postgres >/dev/null || die "the stack does not run: deploy/local up"
}
