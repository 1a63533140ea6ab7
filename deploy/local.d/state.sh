# shellcheck shell=bash
# Where a stack keeps its things. Stacks do not touch each other: main (up, demo), test, chaos, bench.

LOCAL=$ROOT/.local
BIN=${LOCAL_BIN:-${CARGO_TARGET_DIR:-$ROOT/target}/release}

# use_stack NAME: makes STACK the current one; sets STATE (logs, pids, keys, ports), DATA (PostgreSQL, Redis) and the ports.
use_stack() {
    STACK=$1
    STATE=$LOCAL/$STACK
    mkdir -p "$STATE/pids" "$STATE/logs" "$STATE/objects"
    chmod 700 "$LOCAL"
    DATA=$(data_folder)/$STACK
    load_ports
    load_secrets
}

# The account that runs PostgreSQL: it refuses to run as root.
postgres_user() {
    if [ "$(id -u)" != 0 ]; then
        id -un
    elif id postgres >/dev/null 2>&1; then
        echo postgres
    else
        echo nobody
    fi
}

# Descriptor 9 is the stack's lock: no server may keep it open.
as_postgres() {
    if [ "$(id -u)" != 0 ]; then
        (cd / && exec "$@" 9>&-)
    elif command -v setpriv >/dev/null; then
        (cd / && exec setpriv --reuid="$(postgres_user)" --regid="$(id -g "$(postgres_user)")" --clear-groups "$@" 9>&-)
    else
        (cd / && exec runuser -u "$(postgres_user)" -- "$@" 9>&-)
    fi
}

# Root's checkout often lies in a home that nobody else may enter; then the data lie in a folder under /var/tmp that is named
# after the checkout.
data_folder() {
    if [ "$(id -u)" != 0 ]; then
        echo "$LOCAL/data"
    else
        echo "/var/tmp/mochila-$(printf '%s' "$ROOT" | cksum | cut -d' ' -f1)"
    fi
}

port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A free port below the range from which the kernel takes the ports of outgoing connections (32768 and up on Linux).
free_port() {
    local port
    while :; do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        [[ " $* " != *" $port "* ]] && port_free "$port" && break
    done
    echo "$port"
}

PORT_NAMES="POSTGRES REDIS API API_METRICS WORKER_1_METRICS WORKER_2_METRICS SINK_SMTP SINK_HTTP DNS"

load_ports() {
    local name taken='' port
    touch "$STATE/ports"
    # A stack of an older checkout may lack some.
    for name in $PORT_NAMES; do
        port=$(sed -n "s/^${name}_PORT=//p" "$STATE/ports")
        taken="$taken $port"
    done
    for name in $PORT_NAMES; do
        grep -q "^${name}_PORT=" "$STATE/ports" && continue
        # shellcheck disable=SC2086
        port=$(free_port $taken)
        taken="$taken $port"
        echo "${name}_PORT=$port" >>"$STATE/ports"
    done
    # shellcheck source=/dev/null
    . "$STATE/ports"
}

random_base64() { head -c "$1" /dev/urandom | base64 | tr -d '\n'; }
random_word() { LC_ALL=C tr -dc 'a-zA-Z0-9' </dev/urandom | head -c 24 || true; }

# Generated once per stack, readable by its owner alone.
load_secrets() {
    if [ ! -s "$STATE/secrets.env" ]; then
        (
            umask 077
            cat >"$STATE/secrets.env" <<TEXT
JWT_KEY=$(random_base64 48)
ENCRYPTION_KEY=$(random_base64 32)
LINK_KEY=$(random_base64 48)
DATABASE_PASSWORD=$(random_word)
REDIS_PASSWORD=$(random_word)
ADMIN_EMAIL=admin@mochila.test
ADMIN_PASSWORD=$(random_word)
TEXT
        )
    fi
    # shellcheck source=/dev/null
    . "$STATE/secrets.env"
    DATABASE_URL=postgres://mochila:$DATABASE_PASSWORD@127.0.0.1:$POSTGRES_PORT/mochila
    REDIS_URL=redis://:$REDIS_PASSWORD@127.0.0.1:$REDIS_PORT/0
}

forget_stack() { rm -rf "$STATE" "$DATA"; }
