# shellcheck shell=bash
# A private Redis that keeps nothing on disk: all that it holds can be rebuilt.

redis_runs() {
    local pid
    pid=$(cat "$STATE/pids/redis" 2>/dev/null) || return 1
    command_of "$pid" | grep -q "redis-server.*:$REDIS_PORT"
}

redis_start() {
    redis_runs && return 0
    port_free "$REDIS_PORT" || port_taken REDIS
    mkdir -p "$DATA/redis"
    (umask 077 && printf 'requirepass %s\n' "$REDIS_PASSWORD" >"$DATA/redis/redis.conf")
    launch redis "$(command -v redis-server)" "$DATA/redis/redis.conf" --bind 127.0.0.1 --port "$REDIS_PORT" --save '' --appendonly no \
        --dir "$DATA/redis"
    wait_until 10 redis_answers || {
        tail_log "$STATE/logs/redis.log"
        die "Redis did not start"
    }
}

redis_answers() { [ "$(REDISCLI_AUTH=$REDIS_PASSWORD redis-cli -p "$REDIS_PORT" ping 2>/dev/null)" = PONG ]; }

redis_stop() {
    redis_runs || return 0
    local pid
    pid=$(cat "$STATE/pids/redis")
    kill "$pid" 2>/dev/null || true
    wait_until 10 gone "$pid" || kill -KILL "$pid"
    rm -f "$STATE/pids/redis"
}
