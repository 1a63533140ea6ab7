# shellcheck shell=bash
# A private PostgreSQL: loopback TCP only, no socket, a password of its own.

postgres_pid() { head -n 1 "$DATA/postgres/postmaster.pid" 2>/dev/null || true; }

postgres_runs() {
    local pid
    pid=$(postgres_pid)
    [ -n "$pid" ] && command_of "$pid" | grep -qF -- "-D $DATA/postgres"
}

postgres_tool() { echo "$(postgres_bin "$(cat "$DATA/postgres/PG_VERSION" 2>/dev/null)")/$1"; }

# fsync stays on: what the demo, chaos and bench show is what a crash leaves. Tests alone do without (their data are thrown away).
postgres_init() {
    local bin fsync=on locale=C.UTF-8
    bin=$(postgres_bin) || die "PostgreSQL is missing"
    [ "$STACK" = test ] && fsync=off
    [ "$(uname)" = Darwin ] && locale=en_US.UTF-8
    mkdir -p "$DATA"
    [ -O "$DATA" ] && [ -O "$(dirname "$DATA")" ] || die "$DATA belongs to somebody else"
    rm -rf "$DATA/postgres"
    mkdir "$DATA/postgres"
    (umask 077 && printf '%s\n' "$DATABASE_PASSWORD" >"$DATA/password")
    if [ "$(id -u)" = 0 ]; then
        chmod 711 "$(dirname "$DATA")" "$DATA"
        chown "$(postgres_user)" "$DATA/postgres" "$DATA/password"
    fi
    as_postgres "$bin/initdb" -D "$DATA/postgres" -U mochila --auth=scram-sha-256 --pwfile="$DATA/password" \
        --encoding=UTF8 --locale="$locale" >"$STATE/logs/postgres-init.log" 2>&1 || {
        tail_log "$STATE/logs/postgres-init.log"
        rm -rf "$DATA/postgres"
        die "PostgreSQL could not make its files in $DATA/postgres"
    }
    rm -f "$DATA/password"
    cat >>"$DATA/postgres/postgresql.conf" <<TEXT
listen_addresses = '127.0.0.1'
port = $POSTGRES_PORT
unix_socket_directories = ''
max_connections = 200
shared_buffers = 1GB
max_wal_size = 4GB
wal_compression = on
fsync = $fsync
logging_collector = off
TEXT
}

postgres_start() {
    postgres_runs && return 0
    [ -s "$DATA/postgres/PG_VERSION" ] || postgres_init
    [ -x "$(postgres_tool pg_ctl)" ] ||
        die "$DATA/postgres was made by PostgreSQL $(cat "$DATA/postgres/PG_VERSION"), which is gone: deploy/local down --wipe starts afresh"
    port_free "$POSTGRES_PORT" || port_taken POSTGRES
    touch "$STATE/logs/postgres.log"
    # The shell opens the log: the account that PostgreSQL runs under may not reach it.
    as_postgres "$(postgres_tool pg_ctl)" -D "$DATA/postgres" -s -w -t 60 start >>"$STATE/logs/postgres.log" 2>&1 </dev/null || {
        tail_log "$STATE/logs/postgres.log"
        die "PostgreSQL did not start"
    }
    if ! postgres_query postgres "SELECT 1 FROM pg_database WHERE datname = 'mochila'" | grep -q 1; then
        postgres_query postgres 'CREATE DATABASE mochila' >/dev/null
    fi
}

# postgres_query DATABASE SQL
postgres_query() {
    PGPASSWORD=$DATABASE_PASSWORD "$(postgres_tool psql)" -X -q -A -t -v ON_ERROR_STOP=1 \
        -h 127.0.0.1 -p "$POSTGRES_PORT" -U mochila -d "$1" -c "$2"
}

# postgres_stop [fast|immediate]: immediate is a crash.
postgres_stop() {
    postgres_runs || return 0
    as_postgres "$(postgres_tool pg_ctl)" -D "$DATA/postgres" -s -w -t 60 -m "${1:-fast}" stop >>"$STATE/logs/postgres.log" 2>&1 ||
        warn "PostgreSQL did not stop"
}

postgres_restart() {
    postgres_stop "$1"
    postgres_start
}
