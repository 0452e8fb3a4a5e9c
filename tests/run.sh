#!/bin/sh
# run.sh PILLION: a trial of everything on this machine: the stand-in for Logstash, the daemon with its built-in
# defaults, and nginx before it. Ctrl-C ends all three. HTTP_PORT and HTTPS_PORT choose other ports.
set -eu

pillion=$(realpath "$1")
here=$(cd "$(dirname "$0")/.." && pwd)
export TRIAL_HTTP_PORT="${HTTP_PORT:-8080}" TRIAL_HTTPS_PORT="${HTTPS_PORT:-8443}"
work=$(mktemp -d "${TMPDIR:-/tmp}/pillion-run.XXXXXX")
mkdir -p "$work/run"
pids=

# In the order of the data: what writes ends before what receives.
end() {
    trap - EXIT INT TERM
    for pid in $pids; do
        kill -TERM "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap end EXIT
trap 'exit 130' INT TERM

# Waits up to ten seconds until the command succeeds, or one of the three has ended.
until_ready() {
    name=$1; shift
    for _ in $(seq 100); do
        "$@" >/dev/null 2>&1 && return
        for pid in $pids; do kill -0 "$pid" 2>/dev/null || { echo "run.sh: $name did not start" >&2; exit 1; }; done
        sleep 0.1
    done
    echo "run.sh: $name is not ready after ten seconds" >&2
    exit 1
}

"$pillion" sink --listen "unix:$work/run/sink.sock" --pretty &
pids="$!"
until_ready "the sink" test -S "$work/run/sink.sock"

"$pillion" run \
    --set "data_dir=$work/data" \
    --set "listen.public=[\"unix:$work/run/pillion.sock\"]" \
    --set "listen.admin=[\"unix:$work/run/admin.sock\"]" \
    --set "ingest.listen=[\"udp:127.0.0.1:0\", \"unixgram:$work/run/log.sock\", \"unix:$work/run/lines.sock\"]" \
    --set "logger.path=$work/run/sink.sock" \
    --set auth.insecure=true --set log.level=warn &
pids="$! $pids"
until_ready "the daemon" test -S "$work/run/pillion.sock"

TRIAL_SOCKET="$work/run/pillion.sock" TRIAL_SYSLOG="unix:$work/run/log.sock" "$here/nginx/trial.sh" "$work/nginx" &
pids="$! $pids"
until_ready nginx test -s "$work/nginx/nginx.pid"

cat <<END

  pillion runs behind nginx.

    page      http://localhost:$TRIAL_HTTP_PORT/  or  https://localhost:$TRIAL_HTTPS_PORT/ (self-signed)
    websocket ws://localhost:$TRIAL_HTTP_PORT/connection/websocket  (Centrifuge protocol, any of its SDKs)
              ws://localhost:$TRIAL_HTTP_PORT/ws?token=alice&cid=lobby  (text frames)
    health    curl --unix-socket $work/run/admin.sock http://admin/readyz
    metrics   curl --unix-socket $work/run/admin.sock http://admin/metrics

  Try: open the page in two tabs, join the same room, and talk. Each step is a line below, as Logstash would get it.
  Ctrl-C ends everything.

END
wait
