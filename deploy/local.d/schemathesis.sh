# shellcheck shell=bash
# Calls a running api with what its document allows and with what it does not, and holds each answer against the document.

# check_api: on the servers of the tests, with a database of its own. MOCHILA_SKIP_SCHEMATHESIS leaves it out.
check_api() (
    if [ -n "${MOCHILA_SKIP_SCHEMATHESIS:-}" ]; then
        note "left out: MOCHILA_SKIP_SCHEMATHESIS is set"
        return 0
    fi
    require_schemathesis || return
    (cd "$ROOT" && cargo build --workspace --bins --locked) || return
    BIN=${CARGO_TARGET_DIR:-$ROOT/target}/debug
    stop_processes api
    DATABASE_URL=${DATABASE_URL%/*}/schemathesis
    postgres_query postgres 'DROP DATABASE IF EXISTS schemathesis WITH (FORCE)' >/dev/null || return
    postgres_query postgres 'CREATE DATABASE schemathesis' >/dev/null || return
    rm -f "$STATE/admin-made"
    export_addresses
    export_settings
    # Nobody listens there: invitations can be made, and no mail leaves.
    setting MOCHILA_MAIL__RELAY_URL "smtp://127.0.0.1:$SINK_SMTP_PORT"
    setting MOCHILA_MAIL__FROM mochila@example.com
    trap 'stop_processes api' EXIT
    prepare_database && start_api || return
    export MOCHILA_THINGS=$STATE/things.json
    (umask 077 && "$SCHEMATHESIS/bin/python" "$ROOT/deploy/schemathesis/seed.py" "$MOCHILA_THINGS") || return
    local failed=''
    call_as admin --phases examples,coverage,fuzzing,stateful || failed=yes
    call_as owner --phases examples,coverage || failed=yes
    # It would make itself an account and log in.
    call_as nobody --phases examples,coverage --exclude-path-regex '/auth/' || failed=yes
    [ -z "$failed" ]
)

# call_as WHO OPTIONS...: the whole report is told only where something is wrong.
call_as() {
    local who=$1 log=$STATE/logs/schemathesis-$1.log token status=0
    shift
    token=$("$SCHEMATHESIS/bin/python" -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]]["token"] or "")' "$MOCHILA_THINGS" "$who")
    (
        cd "$STATE" || exit
        MOCHILA_CALLER=$who PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$ROOT/deploy/schemathesis SCHEMATHESIS_HOOKS=hooks \
            "$SCHEMATHESIS/bin/schemathesis" --config-file "$ROOT/deploy/schemathesis/schemathesis.toml" run \
            "$MOCHILA_URL/api/v1/openapi.json" ${token:+-H "Authorization: Bearer $token"} --no-color "$@"
    ) >"$log" 2>&1 || status=$?
    if [ "$status" = 0 ]; then
        note "as $who: $(sed -n 's/^ *\([0-9]* generated\).*/\1/p' "$log"), every answer as promised"
    else
        cat "$log"
        warn "as $who: schemathesis found something; the report is $log"
    fi
    return "$status"
}

# The packages of deploy/schemathesis/requirements.txt, below .local.
require_schemathesis() {
    local wanted=$ROOT/deploy/schemathesis/requirements.txt
    SCHEMATHESIS=$LOCAL/schemathesis
    cmp -s "$wanted" "$SCHEMATHESIS/requirements.txt" && return 0
    command -v python3 >/dev/null && python3 -c 'import ensurepip, venv' 2>/dev/null || install_missing python3-venv
    step "Fetching schemathesis from PyPI (into $SCHEMATHESIS, nothing is installed)"
    rm -rf "$SCHEMATHESIS"
    if python3 -m venv "$SCHEMATHESIS" && "$SCHEMATHESIS/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"; then
        cp "$wanted" "$SCHEMATHESIS/requirements.txt"
    else
        warn "schemathesis is not to be had from PyPI; MOCHILA_SKIP_SCHEMATHESIS=1 leaves this check out"
        return 1
    fi
}
