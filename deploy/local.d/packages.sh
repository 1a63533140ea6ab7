# shellcheck shell=bash
# Installs what is missing with the system's package manager, and never starts a system-wide server by it.

# The folder of PostgreSQL's programs, the newest first; a version given as $1 is the only one accepted.
# shellcheck disable=SC2120
postgres_bin() {
    local version=${1:-} dir
    if [ -d /usr/lib/postgresql ]; then
        for dir in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -t/ -k5,5nr); do
            [ -x "$dir/initdb" ] || continue
            [ -z "$version" ] || [ "$dir" = "/usr/lib/postgresql/$version/bin" ] || continue
            printf '%s\n' "$dir"
            return 0
        done
    fi
    if command -v brew >/dev/null; then
        for dir in "$(brew --prefix)"/opt/postgresql@{18,17,16,15}/bin; do
            [ -x "$dir/initdb" ] || continue
            [ -z "$version" ] || [ "${dir##*@}" = "$version/bin" ] || continue
            printf '%s\n' "$dir"
            return 0
        done
    fi
    return 1
}

require_servers() {
    local missing=()
    postgres_bin >/dev/null || missing+=(postgresql)
    command -v redis-server >/dev/null && command -v redis-cli >/dev/null || missing+=(redis-server)
    install_missing ${missing[@]+"${missing[@]}"}
}

# promtool and the node exporter, for the checks of deploy/: unpacked below .local, so that no service gets installed.
require_tools() {
    TOOLS=$LOCAL/tools/usr/bin
    [ -x "$TOOLS/promtool" ] && [ -x "$TOOLS/prometheus-node-exporter" ] && return 0
    if command -v promtool >/dev/null && command -v prometheus-node-exporter >/dev/null; then
        TOOLS=$(dirname "$(command -v promtool)")
    elif command -v apt-get >/dev/null; then
        step "Fetching promtool and the node exporter (unpacked below $LOCAL/tools, nothing is installed)"
        rm -rf "$LOCAL/tools" && mkdir -p "$LOCAL/tools"
        fetch_tools || { as_root apt-get update -qq && fetch_tools; } || die "apt-get download prometheus prometheus-node-exporter failed"
    elif command -v brew >/dev/null; then
        step "Installing with brew: prometheus node_exporter (not started as services)"
        brew install prometheus node_exporter
        mkdir -p "$TOOLS"
        ln -sf "$(brew --prefix)/bin/promtool" "$TOOLS/promtool"
        ln -sf "$(brew --prefix)/bin/node_exporter" "$TOOLS/prometheus-node-exporter"
    else
        die "missing: promtool and prometheus-node-exporter; install them with this system's package manager and try again"
    fi
}

fetch_tools() (
    cd "$LOCAL/tools" || exit
    apt-get download -qq prometheus prometheus-node-exporter 2>/dev/null || exit
    for package in *.deb; do
        dpkg-deb -x "$package" . || exit
    done
    rm -rf ./*.deb etc lib var usr/share usr/bin/prometheus
)

require_toolchain() {
    [ -d "$HOME/.cargo/bin" ] && PATH=$PATH:$HOME/.cargo/bin
    command -v cargo >/dev/null ||
        die "cargo is missing: install rustup (https://rustup.rs); it then fetches the version that rust-toolchain.toml names by itself"
    command -v cc >/dev/null || install_missing build-essential
}

install_missing() {
    [ $# -gt 0 ] || return 0
    if command -v apt-get >/dev/null; then
        install_with_apt "$@"
    elif command -v brew >/dev/null; then
        install_with_brew "$@"
    else
        die "missing: $*; install them with this system's package manager and try again"
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "'$*' needs root or sudo"
    fi
}

install_with_apt() {
    local createcluster=/etc/postgresql-common/createcluster.conf status=0
    step "Installing with apt: $* (for its programs only: no server is created or started by it)"
    as_root apt-get update -qq
    hold_servers "$createcluster"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null || status=$?
    release_servers "$createcluster"
    [ "$status" = 0 ] || die "apt-get install $* failed"
    if [ -d /run/systemd/system ] && [[ " $* " == *" redis-server "* ]]; then
        as_root systemctl disable --quiet redis-server.service || warn "redis-server stays enabled: it would start at the next boot"
    fi
}

# policy-rc.d answers 101 ("not allowed") to every package that wants to start its server; a file that was there is kept.
hold_servers() {
    if [ -e /usr/sbin/policy-rc.d ]; then
        as_root cp -p /usr/sbin/policy-rc.d /usr/sbin/policy-rc.d.mochila
    fi
    printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null
    as_root chmod 755 /usr/sbin/policy-rc.d
    as_root mkdir -p "$(dirname "$1")"
    [ -e "$1" ] && as_root cp -p "$1" "$1.mochila"
    echo 'create_main_cluster = false' | as_root tee "$1" >/dev/null
    trap 'release_servers /etc/postgresql-common/createcluster.conf' EXIT
}

release_servers() {
    if [ -e /usr/sbin/policy-rc.d.mochila ]; then
        as_root mv -f /usr/sbin/policy-rc.d.mochila /usr/sbin/policy-rc.d
    else
        as_root rm -f /usr/sbin/policy-rc.d
    fi
    if [ -e "$1.mochila" ]; then
        as_root mv -f "$1.mochila" "$1"
    elif [ "$(cat "$1" 2>/dev/null)" = 'create_main_cluster = false' ]; then
        as_root rm -f "$1"
    fi
    trap - EXIT
}

install_with_brew() {
    local name names=()
    for name in "$@"; do
        case $name in
            postgresql) names+=(postgresql@17) ;;
            redis-server) names+=(redis) ;;
            python3-venv) names+=(python) ;;
            build-essential) die "the C compiler is missing: run xcode-select --install" ;;
        esac
    done
    step "Installing with brew: ${names[*]} (not started as services)"
    brew install "${names[@]}"
}
