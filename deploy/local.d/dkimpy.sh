# shellcheck shell=bash
# Lets the worker's tests verify signatures with dkimpy, which shares no line with what signs.

# require_dkimpy: the packages of deploy/dkimpy/requirements.txt, below .local; DKIMPY_PYTHON tells the tests which python has them.
# MOCHILA_SKIP_DKIMPY leaves it out.
require_dkimpy() {
    if [ -n "${MOCHILA_SKIP_DKIMPY:-}" ]; then
        note "signatures are not verified by dkimpy: MOCHILA_SKIP_DKIMPY is set"
        return 0
    fi
    local wanted=$ROOT/deploy/dkimpy/requirements.txt folder=$LOCAL/dkimpy
    if ! cmp -s "$wanted" "$folder/requirements.txt"; then
        command -v python3 >/dev/null && python3 -c 'import ensurepip, venv' 2>/dev/null || install_missing python3-venv
        step "Fetching dkimpy from PyPI (into $folder, nothing is installed)"
        rm -rf "$folder"
        if ! python3 -m venv "$folder" || ! "$folder/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"; then
            die "dkimpy is not to be had from PyPI; MOCHILA_SKIP_DKIMPY=1 leaves it out"
        fi
        cp "$wanted" "$folder/requirements.txt"
    fi
    export DKIMPY_PYTHON=$folder/bin/python
}
