# shellcheck shell=bash
# Processes: their pids are those of the programs themselves, and one is stopped only if it is ours.

# The command line of a pid; nothing if there is none.
command_of() {
    if [ -d /proc/self ]; then
        { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null || true
    else
        ps -p "$1" -o args= 2>/dev/null || true
    fi
}

# A pid that ended but was not yet waited for has an empty command line; for an instant so has one that is just becoming another program.
gone() {
    [ -z "$(command_of "$1")" ] && sleep 0.05 && [ -z "$(command_of "$1")" ]
}

# wait_until SECONDS COMMAND...
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

# launch NAME COMMAND...: in the background and in a session of its own, so that Ctrl-C reaches it only through us. Exported
# variables are its settings.
launch() {
    local name=$1
    shift
    if command -v setsid >/dev/null; then
        (cd "$STATE" && exec setsid "$@" </dev/null >>"$STATE/logs/$name.log" 2>&1 9>&-) &
    else
        (cd "$STATE" && exec nohup "$@" </dev/null >>"$STATE/logs/$name.log" 2>&1 9>&-) &
    fi
    echo $! >"$STATE/pids/$name"
    STARTED="$name ${STARTED:-}"
}

program_of() {
    case $1 in
        worker-*) echo mochila-worker ;;
        *) echo "mochila-$1" ;;
    esac
}

# The pid of NAME if it runs and is the program that we started under this name.
pid_of() {
    local pid
    case $1 in
        postgres) postgres_runs && postgres_pid ;;
        redis) redis_runs && cat "$STATE/pids/redis" ;;
        *)
            pid=$(cat "$STATE/pids/$1" 2>/dev/null) || return 1
            command_of "$pid" | grep -qF "/$(program_of "$1")" && echo "$pid"
            ;;
    esac
}

# stop_processes NAME...: asks all of them at once, waits for what they still have to record, then kills.
stop_processes() {
    local name pid pids=''
    for name in "$@"; do
        pid=$(pid_of "$name") || continue
        kill "$pid" 2>/dev/null || continue
        pids="$pids $name:$pid"
    done
    for name in $pids; do
        pid=${name#*:}
        if ! wait_until 40 gone "$pid"; then
            warn "${name%:*} (pid $pid) did not stop in 40 s and is killed"
            kill -KILL "$pid" 2>/dev/null || true
        fi
        rm -f "$STATE/pids/${name%:*}"
    done
}

# http_status HOST:PORT PATH: the status code of a GET; nothing if there is no answer. Needs no curl.
http_status() {
    (
        exec 3<>"/dev/tcp/${1%:*}/${1#*:}" || exit 0
        printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$2" "$1" >&3
        IFS=' ' read -r -t 5 _ code _ <&3 && printf '%s' "$code"
    ) 2>/dev/null || true
}

http_ok() { [ "$(http_status "$1" "$2")" = 200 ]; }

port_taken() {
    local name=$1_PORT
    die "port ${!name} (of $1) is taken by another program: deploy/local down, remove $STATE/ports, and start again"
}
