# shellcheck shell=bash
# deploy/local test.

run_checks() {
    if wants_help "$@"; then
        cat <<'TEXT'
Usage: deploy/local test [-- CARGO TEST ARGUMENTS]

Format, lints, alerts (promtool) and every test of the workspace, on a PostgreSQL and a Redis started for them and stopped at the end; then
the api is called by schemathesis, which is fetched from PyPI (MOCHILA_SKIP_SCHEMATHESIS=1 leaves that out), as is dkimpy, which
verifies the signatures of sent mails (MOCHILA_SKIP_DKIMPY=1). This PostgreSQL runs without fsync: its data are thrown away. While it
runs, .local/test.env has DATABASE_URL and REDIS_URL.

       deploy/local test --servers

Starts only the two servers and leaves them running for tests run by hand (. .local/test.env; cargo test);
deploy/local test --stop ends them.
TEXT
        return 0
    fi
    local only=''
    case ${1:-} in
        --servers | --stop) only=$1 && shift ;;
        --) shift ;;
        '') ;;
        *) die "test does not know $1; see deploy/local test --help" ;;
    esac
    if [ "$only" = --stop ]; then
        use_stack test
        stop_tests
        return 0
    fi
    require_servers
    require_toolchain
    use_stack test
    # Two runs in one checkout would take each other's servers away.
    lock_stack
    require_tools
    require_dkimpy
    [ "$only" = --servers ] || trap stop_tests EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    step "Starting PostgreSQL and Redis for the tests"
    start_servers
    write_test_file
    if [ "$only" = --servers ]; then
        note "Tests by hand: set -a; . $LOCAL/test.env; cargo test"
        return 0
    fi

    FAILED=''
    cd "$ROOT" || exit
    check "format" cargo fmt --all --check
    check "lints" cargo clippy --workspace --all-targets --locked -- -D warnings
    if command -v shellcheck >/dev/null; then
        check "shell scripts" shellcheck --shell=bash --severity=warning --exclude=SC2034 deploy/local deploy/local.d/*.sh \
            deploy/backup deploy/restore deploy/image/* .ci/run
    fi
    check "Prometheus' configuration" "$TOOLS/promtool" check config deploy/prometheus/prometheus.yml
    check "alerts" "$TOOLS/promtool" test rules deploy/prometheus/alerts.test.yml
    if command -v cargo-deny >/dev/null; then
        check "licences and bans" cargo deny --offline check licenses bans
    fi
    check "tests" cargo test --workspace --locked --no-fail-fast "$@"
    check "the api against its document" check_api
    [ -z "$FAILED" ] || die "failed:$FAILED"
    printf '%sall checks passed%s\n' "$GREEN" "$PLAIN"
}

# check NAME COMMAND...: a failure is remembered and the rest still runs.
check() {
    local name=$1
    shift
    step "Checking: $name"
    "$@" || FAILED="${FAILED:+$FAILED,} $name"
}

write_test_file() {
    DATABASE_URL=postgres://mochila:$DATABASE_PASSWORD@127.0.0.1:$POSTGRES_PORT/postgres
    export DATABASE_URL REDIS_URL
    (umask 077 && printf '%s\n' "DATABASE_URL=$DATABASE_URL" "REDIS_URL=$REDIS_URL" ${DKIMPY_PYTHON:+"DKIMPY_PYTHON=$DKIMPY_PYTHON"} >"$LOCAL/test.env")
}

stop_tests() {
    local status=$?
    # A second Ctrl-C does not end the tidying.
    trap - EXIT
    trap '' INT TERM
    redis_stop
    postgres_stop immediate
    rm -rf "$DATA" "$LOCAL/test.env"
    rmdir "$(dirname "$DATA")" 2>/dev/null || true
    return "$status"
}
