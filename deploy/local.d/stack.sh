# shellcheck shell=bash
# The stack: PostgreSQL, Redis, the sink, the name server, the api and two workers, started in this order and stopped in the reverse one.

WORKERS="worker-1 worker-2"
PROGRAMS="mochila-api mochila-worker mochila-sink mochila-dns mochila-demo mochila-chaos mochila-bench"

build() {
    # Programs that are there already, e.g. target/debug.
    [ -z "${LOCAL_BIN:-}" ] || return 0
    require_toolchain
    step "Building in release mode (the first time takes some minutes)"
    (cd "$ROOT" && cargo build --release --locked -p mochila-api -p mochila-worker -p mochila-bench)
    local program
    for program in $PROGRAMS; do
        [ -x "$BIN/$program" ] || die "the build made no $BIN/$program"
    done
}

# setting NAME VALUE: exported unless the caller's environment has it already.
setting() {
    [ -n "${!1+set}" ] || export "$1=$2"
}

# The settings of the api and the workers; run in the subshell that becomes the process.
export_settings() {
    export MOCHILA_DATABASE__URL=$DATABASE_URL MOCHILA_REDIS__URL=$REDIS_URL
    export MOCHILA_SECRETS__JWT_KEY=$JWT_KEY MOCHILA_SECRETS__ENCRYPTION_KEY=$ENCRYPTION_KEY MOCHILA_SECRETS__LINK_KEY=$LINK_KEY
    export MOCHILA_STORE__URL=file://$STATE/objects
    export MOCHILA_API__LISTEN=127.0.0.1:$API_PORT MOCHILA_API__METRICS_LISTEN=127.0.0.1:$API_METRICS_PORT
    export MOCHILA_API__PUBLIC_URL=http://127.0.0.1:$API_PORT
    # It answers for the sending domains of this stack.
    export MOCHILA_DNS__SERVERS=127.0.0.1:$DNS_PORT
    # A deferred recipient is tried again after seconds, so that a whole life of a campaign can be watched.
    setting MOCHILA_SENDING__RETRY__FIRST_SECONDS 2
    setting MOCHILA_SENDING__RETRY__LONGEST_SECONDS 8
    if [ "$STACK" = main ]; then
        setting MOCHILA_SENDING__RETRY__EXPIRE_SECONDS 30
    else
        # A fault lasts for half a minute: nobody may expire because of it.
        setting MOCHILA_SENDING__RETRY__EXPIRE_SECONDS 900
    fi
    # The same for a destination that is slowed down: an hour of recovery becomes seconds.
    setting MOCHILA_SENDING__SLOWDOWN__WINDOW_SECONDS 1
    setting MOCHILA_SENDING__SLOWDOWN__COOLDOWN_SECONDS 1
    setting MOCHILA_SENDING__SLOWDOWN__FLOOR_PER_SECOND 20
    setting MOCHILA_SENDING__SLOWDOWN__SUSPEND_SECONDS 10
    [ "$STACK" = main ] || setting MOCHILA_AUTH__ACCESS_TOKEN_SECONDS 86400
    setting MOCHILA_LOG__FORMAT text
    # The logs are files: no colours.
    export NO_COLOR=1
    raise_limits
}

# Limits per client address would count a test harness on this machine as one client: each [limits] setting that the defaults
# name per minute is raised here.
raise_limits() {
    local name
    for name in $(sed -n '/^\[limits\]/,/^\[/s/^\([a-z_]*_per_minute\) *=.*/\1/p' "$ROOT/deploy/config.default.toml"); do
        setting "MOCHILA_LIMITS__$(printf '%s' "$name" | tr '[:lower:]' '[:upper:]')" "${LIMIT_PER_MINUTE:-1000000}"
    done
}

start_servers() {
    local name
    for name in postgres redis; do
        pid_of "$name" >/dev/null && continue
        "${name}_start"
        [ "$name" = redis ] || STARTED="$name ${STARTED:-}"
    done
}

# start_program NAME HOST:PORT PATH COMMAND...: unless it runs; returns when it answers 200 there.
start_program() {
    local name=$1 address=$2 path=$3 port
    shift 3
    pid_of "$name" >/dev/null && return 0
    port=${address#*:}
    port_free "$port" || die "port $port (of $name) is taken by another program: deploy/local down, remove $STATE/ports, and start again"
    launch "$name" "$@"
    wait_until 30 answers_or_gone "$name" "$address" "$path" && pid_of "$name" >/dev/null && return 0
    tail_log "$STATE/logs/$name.log"
    die "$name did not start"
}

answers_or_gone() { http_ok "$2" "$3" || gone "$(cat "$STATE/pids/$1")"; }

start_sink() {
    start_program sink "127.0.0.1:$SINK_HTTP_PORT" /stats \
        "$BIN/mochila-sink" --smtp "127.0.0.1:$SINK_SMTP_PORT" --http "127.0.0.1:$SINK_HTTP_PORT"
}

# It logs in to the api when it is first asked.
start_dns() {
    pid_of dns >/dev/null && return 0
    port_free "$DNS_PORT" || port_taken DNS
    launch dns "$BIN/mochila-dns" --listen "127.0.0.1:$DNS_PORT"
    wait_until 30 listens_or_gone dns "$DNS_PORT" && pid_of dns >/dev/null && return 0
    tail_log "$STATE/logs/dns.log"
    die "dns did not start"
}

listens() { ! port_free "$1"; }
listens_or_gone() { listens "$2" || gone "$(cat "$STATE/pids/$1")"; }

start_api() {
    start_program api "127.0.0.1:$API_PORT" /ready "$BIN/mochila-api" serve
}

start_worker() {
    local port="WORKER_${1#worker-}_METRICS_PORT"
    export MOCHILA_WORKER__METRICS_LISTEN=127.0.0.1:${!port}
    start_program "$1" "127.0.0.1:${!port}" /metrics "$BIN/mochila-worker"
}

# The schema, and the first admin with a generated password.
prepare_database() {
    "$BIN/mochila-api" migrate >>"$STATE/logs/migrate.log" 2>&1 || {
        tail_log "$STATE/logs/migrate.log"
        die "the migrations failed"
    }
    [ -e "$STATE/admin-made" ] && return 0
    MOCHILA_ADMIN_PASSWORD=$ADMIN_PASSWORD "$BIN/mochila-api" create-admin --email "$ADMIN_EMAIL" </dev/null >>"$STATE/logs/migrate.log" 2>&1 || {
        tail_log "$STATE/logs/migrate.log"
        die "the first admin could not be made"
    }
    touch "$STATE/admin-made"
}

prepare_route() {
    "$BIN/mochila-demo" route --smtp "smtp://127.0.0.1:$SINK_SMTP_PORT" >>"$STATE/logs/migrate.log" 2>&1 || {
        tail_log "$STATE/logs/migrate.log"
        die "the route to the sink could not be made"
    }
}

# What the programs of the bench crate need to know; also written to the stack's file.
export_addresses() {
    export MOCHILA_URL=http://127.0.0.1:$API_PORT MOCHILA_ADMIN_EMAIL=$ADMIN_EMAIL MOCHILA_ADMIN_PASSWORD=$ADMIN_PASSWORD
    export DATABASE_URL REDIS_URL SINK_SMTP=127.0.0.1:$SINK_SMTP_PORT SINK_HTTP=http://127.0.0.1:$SINK_HTTP_PORT
    export API_METRICS=http://127.0.0.1:$API_METRICS_PORT/metrics
    export WORKER_METRICS="http://127.0.0.1:$WORKER_1_METRICS_PORT/metrics http://127.0.0.1:$WORKER_2_METRICS_PORT/metrics"
}

# Starts what does not run. On failure, what this call started is stopped again.
stack_up() {
    STARTED=''
    trap undo_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    export_addresses
    step "Starting the stack"
    start_servers
    export_settings
    prepare_database
    start_sink
    start_dns
    start_api
    local worker
    for worker in $WORKERS; do
        start_worker "$worker"
    done
    prepare_route
    note_pids
    trap - EXIT INT TERM
}

note_pids() {
    API_PID=$(pid_of api)
    SINK_PID=$(pid_of sink)
    POSTGRES_PID=$(postgres_pid)
    REDIS_PID=$(pid_of redis)
    export API_PID SINK_PID POSTGRES_PID REDIS_PID
    local worker pids=''
    for worker in $WORKERS; do
        pids="${pids:+$pids }$(pid_of "$worker")"
    done
    unset WORKER_PIDS
    [ -z "$pids" ] || export WORKER_PIDS=$pids
}

undo_up() {
    local status=$?
    # A second Ctrl-C does not end the tidying.
    trap - EXIT
    trap '' INT TERM
    warn "the stack did not start; stopping what this call started"
    stop_these "$STARTED"
    exit "$status"
}

write_stack_file() {
    (
        umask 077
        cat >"$LOCAL/stack.env.new" <<TEXT
MOCHILA_URL=$MOCHILA_URL
MOCHILA_ADMIN_EMAIL=$MOCHILA_ADMIN_EMAIL
MOCHILA_ADMIN_PASSWORD=$MOCHILA_ADMIN_PASSWORD
DATABASE_URL=$DATABASE_URL
REDIS_URL=$REDIS_URL
SINK_SMTP=$SINK_SMTP
SINK_HTTP=$SINK_HTTP
API_PID=$API_PID
WORKER_PIDS="$WORKER_PIDS"
SINK_PID=$SINK_PID
POSTGRES_PID=$POSTGRES_PID
REDIS_PID=$REDIS_PID
API_METRICS=$API_METRICS
WORKER_METRICS="$WORKER_METRICS"
TEXT
    )
    mv "$LOCAL/stack.env.new" "$LOCAL/stack.env"
}

# stop_these "NAME ...": in an order in which each still finds what it needs while it stops.
stop_these() {
    local name some=''
    for name in $WORKERS api; do
        [[ " $1 " == *" $name "* ]] && some="$some $name"
    done
    # shellcheck disable=SC2086
    stop_processes $some
    for name in sink dns; do
        if [[ " $1 " == *" $name "* ]]; then stop_processes "$name"; fi
    done
    if [[ " $1 " == *" redis "* ]]; then redis_stop; fi
    if [[ " $1 " == *" postgres "* ]]; then postgres_stop fast; fi
}

stack_down() { stop_these "$WORKERS api sink dns redis postgres"; }

# Two calls at a time would start everything twice.
lock_stack() {
    command -v flock >/dev/null || return 0
    exec 9>"$STATE/lock"
    flock -n 9 || die "another deploy/local is at work on this stack"
}

unlock_stack() { exec 9>&-; }
