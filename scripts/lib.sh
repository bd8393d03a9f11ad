# Sourced by the scripts: where things are, and the steps of an installation.
# Each step is skipped when what it depends on has not changed since it last succeeded.

venv="$PWD/.venv"
stamps="$venv/.stamps"

say() { printf '\033[2m›\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3.14 python3; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
  die "Python 3.11 or newer is needed and was not found. Install it, or name it: PYTHON=/path/to/python3"
}

ensure_venv() {
  if ! "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
    local python
    python=$(find_python)
    say "making .venv with $("$python" --version)"
    rm -rf "$venv"
    "$python" -m venv "$venv" || die "'$python -m venv' failed; on Debian and Ubuntu: apt-get install python3-venv"
  fi
  mkdir -p "$stamps"
}

# True when the files named after the stamp's name have changed since `stamp_done`.
stale() {
  local name=$1
  shift
  [ "$(cat "$@" 2>/dev/null | cksum)" != "$(cat "$stamps/$name" 2>/dev/null)" ]
}
stamp_done() {
  local name=$1
  shift
  cat "$@" | cksum >"$stamps/$name"
}

ensure_python_packages() {
  local kind=$1 lock="requirements/$1.txt"
  [ "$kind" = server ] && [ -e "$stamps/python-dev" ] && kind=dev lock=requirements/dev.txt
  if stale "python-$kind" "$lock"; then
    say "installing Python packages ($lock)"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check -r "$lock" ||
      die "pip could not install $lock; see its message above"
    stamp_done "python-$kind" "$lock"
  fi
  local sources=(pyproject.toml setup.py src/tidewire/protocol/pgoutput/_render.pyx)
  if stale "tidewire" "${sources[@]}"; then
    say "installing tidewire itself"
    build_tidewire
    stamp_done "tidewire" "${sources[@]}"
  fi
}

# The compiled row renderer is built where a compiler is there; without one the pure-Python twin runs.
build_tidewire() {
  local log="$venv/build.log"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check -r requirements/build.txt ||
    die "pip could not install requirements/build.txt; see its message above"
  "$venv/bin/python" -m pip install --disable-pip-version-check --no-build-isolation --no-deps -v -e . >"$log" 2>&1 ||
    { tail -n 30 "$log" >&2; die "installing tidewire failed; the whole log is in $log"; }
  if ! "$venv/bin/python" -c 'import tidewire.protocol.pgoutput._render' 2>/dev/null; then
    say "the compiled row renderer was not built (see $log); the pure-Python one is used"
  fi
}

# Node >= 22.12 of the machine, else the one that comes as a Python wheel.
ensure_node_packages() { :; }
