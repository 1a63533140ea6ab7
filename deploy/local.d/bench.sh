# shellcheck shell=bash
# deploy/local bench: mochila-bench measures, this starts what it measures and what it measures beside.

BENCHES="sink send dkim launch messages import api scale-out"

bench_help() {
    cat <<'TEXT'
Usage: deploy/local bench NAME [--quick] [OPTIONS]

Each starts a stack of its own from nothing, with fsync, measures, and stops it. Figures are printed as tables and written to
.local/bench-NAME.json. Take them on a machine that does nothing else. NAME is one of:

  sink        what the sink takes at most: postfix's smtp-source against it and against smtp-sink
  send        messages a second to 100,000 recipients over 128 connections, processor time by part; beside it Express, Bull,
              nodemailer and pg (bench/peers/express-bull)
  dkim        messages a second that are signed: 2 KB with both keys, with RSA-2048, with Ed25519, and 100 KB with RSA-2048
  launch      first mail, memory and cost of a recipient at 100,000 and at 1,000,000
  messages    20 messages a second to one person each, alone and beside a campaign to 200,000: from the request to the sink
  import      rows a second of files of 1,000,000 rows
  api         GET /jobs/{id} by wrk; lists and polls at 500 requests/s; beside it Express and pg
  scale-out   1, 2 and 4 workers with 32 connections each, before a sink that answers after 100 ms
  all         all of them, one after another

  --quick     small counts, one run: shows that the tools work, not how fast anything is
  other options go to mochila-bench: deploy/local bench NAME --help

Node, npm, wrk and postfix's programs are installed or unpacked (into .local/) where they are missing; no daemon is started.
TEXT
}

run_bench() {
    if [ $# = 0 ]; then
        bench_help
        exit 2
    fi
    if wants_help "$@"; then
        bench_help
        return 0
    fi
    local name=$1
    shift
    if [ "$name" = all ]; then
        bench_all "$@"
        return
    fi
    [[ " $BENCHES " == *" $name "* ]] || die "bench does not know $name; see deploy/local bench --help"
    if wants_help "$@"; then
        build >&2
        exec "$BIN/mochila-bench" "$name" --help
    fi
    local arguments=()
    if [ "${1:-}" = --quick ]; then
        shift
        # shellcheck disable=SC2207
        arguments=($(quick_arguments "$name"))
    fi
    arguments+=("$@")
    JSON=$LOCAL/bench-$name.json
    # Limits per minute are counted, but none is reached.
    LIMIT_PER_MINUTE=100000000
    case $name in
        send | api) install_peer ;;
        sink) unpack_postfix ;;
    esac
    case $name in
        api) command -v wrk >/dev/null || install_missing wrk ;;
        scale-out) WORKERS='' && setting MOCHILA_SENDING__CONNECTIONS 32 ;;
    esac
    setting MOCHILA_SENDING__CONNECTIONS 64
    private_stack bench
    stack_up
    trap end_private_stack EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    export BENCH_VERSIONS BENCH_PEER=$LOCAL/peer POSTFIX=$LOCAL/postfix WORKER_PROGRAM=$BIN/mochila-worker
    BENCH_VERSIONS=$(versions)
    local status=0
    "bench_${name//-/_}" ${arguments[@]+"${arguments[@]}"} || status=$?
    exit "$status"
}

measure() { "$BIN/mochila-bench" "$@" 9>&-; }

# A verified domain of the admin's workspace that has no keys: what comes from it is not signed. What signing costs, bench_dkim tells.
unsigned_domain() {
    postgres_query mochila "INSERT INTO sending_domains (id, workspace_id, domain, state, ownership_token, return_path_host, verified_at, check_due_at)
        SELECT gen_random_uuid(), workspace_id, 'mochila.test', 'verified', 'bench', 'bounces.mochila.test', now(), 'infinity' FROM users
        WHERE email = '$ADMIN_EMAIL' ON CONFLICT DO NOTHING"
}

bench_sink() { measure sink --json "$JSON" "$@"; }
bench_messages() {
    unsigned_domain || return
    measure messages --json "$JSON" "$@"
}
bench_import() { measure import --json "$JSON" "$@"; }
bench_api() { measure api --json "$JSON" "$@"; }
# Its workers are its own.
bench_scale_out() {
    unset WORKER_METRICS
    unsigned_domain || return
    measure scale-out --json "$JSON" "$@"
}

# Reading the threads' clocks costs a little: the stages are measured in a run of their own, whose rate does not count.
bench_send() {
    unsigned_domain || return
    measure send --json "$JSON" "$@" || return
    step "Once more with processor time by stage (worker.measure_stages)"
    export MOCHILA_WORKER__MEASURE_STAGES=true
    restart_workers
    local arguments=()
    while [ $# -gt 0 ]; do
        case $1 in
            --runs=* | --peer-*=*) ;;
            --runs | --peer-*) shift ;;
            *) arguments+=("$1") ;;
        esac
        shift
    done
    measure send --json "$LOCAL/bench-send-stages.json" --runs 1 --peer-recipients 0 ${arguments[@]+"${arguments[@]}"}
}

# A verified domain signs with both of its keys; that is measured first. Then each alone: which of them sign is written into their rows, and
# the workers, which keep keys for a minute, begin anew.
bench_dkim() {
    local kind figures='' failed=''
    for kind in "rsa-sha256,ed25519-sha256 2" "rsa-sha256 2" "ed25519-sha256 2" "rsa-sha256 100"; do
        local keys=${kind% *} kilobytes=${kind#* } json=$LOCAL/bench-dkim-${kind/ /-}.json
        postgres_query mochila "UPDATE dkim_keys SET state = CASE WHEN algorithm = ANY (string_to_array('$keys', ',')) THEN 'active' ELSE 'retired' END" || return
        restart_workers
        rm -f "$json"
        measure dkim --json "$json" --keys "$keys" --kilobytes "$kilobytes" "$@" || failed=yes
        [ -s "$json" ] && figures="${figures:+$figures,}$(cat "$json")"
    done
    printf '[%s]\n' "$figures" >"$JSON"
    [ -z "$failed" ]
}

# The workers that are measured have not loaded the lists: their memory is that of sending.
bench_launch() {
    unsigned_domain || return
    measure launch --fill "$LOCAL/bench-lists.json" "$@" || return
    restart_workers
    measure launch --lists "$LOCAL/bench-lists.json" --json "$JSON" "$@"
}

restart_workers() {
    local worker
    # shellcheck disable=SC2086
    stop_processes $WORKERS
    for worker in $WORKERS; do
        start_worker "$worker"
    done
    note_pids
}

quick_arguments() {
    case $1 in
        sink) echo --messages 5000 --runs 1 ;;
        send) echo --recipients 2000 --warm-up 200 --runs 1 --peer-recipients 500 --peer-concurrency 20 ;;
        dkim) echo --recipients 1000 --warm-up 100 --runs 1 ;;
        launch) echo --small 1000 --large 5000 --warm-up 200 --runs 1 ;;
        messages) echo --recipients 5000 --seconds 2 ;;
        import) echo --rows 50000 --warm-up 1000 --runs 1 ;;
        api) echo --seconds 2 --runs 1 --rate 50 ;;
        scale-out) echo --seconds 2 --runs 1 --workers 1,2 ;;
    esac
}

bench_all() {
    local name failed='' figures=()
    for name in $BENCHES; do
        "$ROOT/deploy/local" bench "$name" "$@" || failed="$failed $name"
        [ -s "$LOCAL/bench-$name.json" ] && figures+=("$LOCAL/bench-$name.json")
    done
    {
        echo '['
        local index
        for index in ${figures[@]+"${!figures[@]}"}; do
            [ "$index" = 0 ] || echo ','
            cat "${figures[$index]}"
        done
        echo ']'
    } >"$LOCAL/bench.json"
    note "All figures: $LOCAL/bench.json"
    [ -z "$failed" ] || die "failed:$failed"
}

install_peer() {
    command -v node >/dev/null && command -v npm >/dev/null || install_missing nodejs npm
    local peer=$LOCAL/peer source=$ROOT/bench/peers/express-bull
    mkdir -p "$peer"
    cp "$source"/*.js "$source"/package*.json "$peer/"
    if [ -d "$peer/node_modules" ] && cmp -s "$source/package-lock.json" "$peer/node_modules/.installed"; then
        return 0
    fi
    step "Installing the peer's packages into $peer"
    (cd "$peer" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) || die "npm ci failed in $peer"
    cp "$source/package-lock.json" "$peer/node_modules/.installed"
}

# The package's files without its scripts: no postfix is set up or started by it.
unpack_postfix() {
    local folder=$LOCAL/postfix
    if command -v smtp-source >/dev/null || [ -x "$folder/usr/sbin/smtp-source" ]; then
        return 0
    fi
    command -v apt-get >/dev/null || die "smtp-source and smtp-sink are missing: install postfix without starting it"
    step "Unpacking Debian's postfix into $folder"
    mkdir -p "$folder"
    (cd "$folder" && apt-get download -qq postfix && dpkg -x ./*.deb .) || die "postfix could not be unpacked"
}

versions() {
    printf '%s; %s; %s' "$(rustc --version)" "$("$(postgres_tool postgres)" --version)" "$(redis-server --version | cut -d' ' -f1-3)"
    command -v node >/dev/null && printf '; node %s' "$(node --version)"
    printf '; commit %s' "$(git -C "$ROOT" rev-parse --short HEAD 2>/dev/null || echo unknown)"
}
