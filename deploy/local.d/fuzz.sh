# shellcheck shell=bash
# deploy/local fuzz: bytes that nobody would send, to the code that reads what strangers send.

fuzz_help() {
    cat <<'TEXT'
Usage: deploy/local fuzz [--seconds N] [TARGET...]

Builds fuzz/ with coverage and runs each target for N seconds (60), on from what earlier runs found. Ends with 1 where an input
breaks something; it is kept in fuzz/artifacts/TARGET/ and is tried again by: fuzz/target/HOST/release/TARGET FILE. TARGET is of:

  dsn         the fields of a delivery report
  arf         the fields of a complaint, and the message in it
  smtp_reply  what an SMTP server answers
  mime        whole mails, and files of them
  webhooks    bodies of webhooks

Needs Rust and a C++ compiler; nothing is installed. Seeds are in fuzz/corpus/ and shared/src/bounces/samples/; what runs
add to fuzz/corpus/ is not kept by git.
TEXT
}

run_fuzz() {
    local seconds=60 targets=() seeds target host failed=''
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help) fuzz_help && return 0 ;;
            --seconds)
                [[ "${2:-}" =~ ^[1-9][0-9]*$ ]] || die "--seconds needs a number; see deploy/local fuzz --help"
                seconds=$2
                shift
                ;;
            dsn | arf | smtp_reply | mime | webhooks) targets+=("$1") ;;
            *) die "fuzz does not know $1; see deploy/local fuzz --help" ;;
        esac
        shift
    done
    [ ${#targets[@]} -gt 0 ] || targets=(dsn arf smtp_reply mime webhooks)
    host=$(rustc -vV | sed -n 's/^host: //p')
    # What cargo-fuzz gives to rustc, but for the address sanitizer: there is no unsafe code to watch. A --target keeps the flags
    # away from build scripts.
    local flags='--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module'
    flags+=' -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters'
    flags+=' -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares'
    (cd "$ROOT/fuzz" && RUSTFLAGS=$flags cargo build --release --locked --target "$host" --target-dir "$ROOT/fuzz/target") ||
        die "failed to build the fuzz targets"
    for target in "${targets[@]}"; do
        step "fuzz $target: $seconds s"
        mkdir -p "$ROOT/fuzz/artifacts/$target" "$ROOT/fuzz/corpus/$target"
        seeds=("$ROOT/fuzz/corpus/$target")
        [ "$target" != mime ] || seeds+=("$ROOT/shared/src/bounces/samples")
        "$ROOT/fuzz/target/$host/release/$target" "${seeds[@]}" -max_total_time="$seconds" -timeout=10 \
            -rss_limit_mb=2048 -max_len=16384 -print_final_stats=1 -artifact_prefix="$ROOT/fuzz/artifacts/$target/" || failed+=" $target"
    done
    [ -z "$failed" ] || die "broken by what is in fuzz/artifacts:$failed"
}
