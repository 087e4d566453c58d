#!/usr/bin/env bash
# Runs the Autobahn test suite through the gateway: its fuzzing client -> gatehouse -> its echo server.
#
#   conformance/autobahn/run.sh [PATH OF gatehouse]      default: target/debug/gatehouse
#
# Needs a Python 2.7 with pip for the suite (PYTHON27, else python2.7, else one that pyenv has) and a Python 3.11 for
# the verdict. What the suite needs is installed once, below target/autobahn. Reports: target/autobahn/reports.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
binary=${1:-$root/target/debug/gatehouse}
work=$root/target/autobahn
suite=0.8.2

python27() {
    for candidate in "${PYTHON27:-}" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7*/bin/python python2.7; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "no Python 2.7; set PYTHON27" >&2
    exit 2
}

if [ ! -x "$work/venv/bin/wstest" ]; then
    python=$(python27)
    mkdir -p "$work"
    # The last virtualenv that makes environments of Python 2.7.
    "$python" -m pip --quiet install --target "$work/tools" virtualenv==20.15.1
    PYTHONPATH=$work/tools "$python" -m virtualenv --quiet "$work/venv"
    "$work/venv/bin/pip" --quiet install "autobahntestsuite==$suite"
fi

rm -rf "$work/reports" "$work/spec.json"
free_port='import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
echo_port=$(python3 -c "$free_port")
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT

"$work/venv/bin/wstest" -m echoserver -w "ws://127.0.0.1:$echo_port" >"$work/echo.log" 2>&1 &
pids+=($!)
until python3 -c "import socket; socket.create_connection(('127.0.0.1', $echo_port))" 2>/dev/null; do
    kill -0 "${pids[0]}"
    sleep 0.1
done

# The echo server wants to see its own port in `Host`.
cat >"$work/gatehouse.yaml" <<YAML
listeners: { main: { address: "127.0.0.1:0" } }
admin: { address: "off" }
access_log: { enabled: false }
routes: { all: { match: {}, forward: { upstream: echo, host: upstream } } }
upstreams: { echo: { endpoints: ["http://127.0.0.1:$echo_port"] } }
YAML
"$binary" run "$work/gatehouse.yaml" >"$work/gatehouse.log" 2>&1 &
pids+=($!)
until grep -q '^ready' "$work/gatehouse.log"; do
    kill -0 "${pids[1]}"
    sleep 0.1
done
url=$(sed -n 's|^listening main http://|ws://|p' "$work/gatehouse.log")

cat >"$work/spec.json" <<JSON
{
  "outdir": "$work/reports",
  "servers": [{ "agent": "gatehouse", "url": "$url" }],
  "cases": ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"],
  "exclude-cases": [],
  "exclude-agent-cases": {}
}
JSON
"$work/venv/bin/wstest" -m fuzzingclient -s "$work/spec.json" >"$work/client.log" 2>&1
python3 "$here/judge.py" "$work/reports/index.json" "$here/expected.toml"
