#!/bin/sh
# Runs nginx for a trial: trial.sh PREFIX [nginx arguments, for example -t]
#
# PREFIX is a directory of its own; it gets copies of these files with the addresses below put in, and becomes the
# prefix of nginx. It stays in the foreground: a signal to this process is a signal to nginx.
#
# Environment, with defaults:
#   TRIAL_SOCKET      PREFIX/run/pillion.sock   where pillion listens
#   TRIAL_SYSLOG      127.0.0.1:5514            where pillion takes log lines
#   TRIAL_HTTP_PORT   8080
#   TRIAL_HTTPS_PORT  8443
#   TRIAL_LOG_LEVEL   warn                      of nginx's own messages on stderr
#   NGINX             nginx
# PREFIX/cert.pem and PREFIX/key.pem are made with openssl when they are missing.
set -eu

[ $# -ge 1 ] || { echo "usage: trial.sh PREFIX [nginx arguments]" >&2; exit 64; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/pillion"
prefix=$(cd "$1" && pwd)
shift

# Debian keeps nginx in a directory that only root has in its PATH.
PATH=$PATH:/usr/sbin:/usr/local/sbin
nginx=${NGINX:-nginx}
command -v "$nginx" >/dev/null || { echo "trial.sh: nginx is not installed (apt-get install nginx)" >&2; exit 1; }

socket=${TRIAL_SOCKET:-$prefix/run/pillion.sock}
syslog=${TRIAL_SYSLOG:-127.0.0.1:5514}

cp "$here"/*.conf "$prefix/pillion/"
sed -e "s|unix:/run/pillion/pillion.sock|unix:$socket|" "$here/upstream.conf" >"$prefix/pillion/upstream.conf"
sed -e "s|server=127.0.0.1:5514|server=$syslog|" \
    -e "s|/var/log/nginx/error.log|$prefix/error.log|" "$here/logs.conf" >"$prefix/pillion/logs.conf"
sed -e "s|listen      8080|listen      ${TRIAL_HTTP_PORT:-8080}|" \
    -e "s|listen      8443|listen      ${TRIAL_HTTPS_PORT:-8443}|" \
    -e "s|stderr warn|stderr ${TRIAL_LOG_LEVEL:-warn}|" "$here/trial.conf" >"$prefix/nginx.conf"

if [ ! -s "$prefix/cert.pem" ] || [ ! -s "$prefix/key.pem" ]; then
    command -v openssl >/dev/null || { echo "trial.sh: no cert.pem in $prefix and no openssl to make one" >&2; exit 1; }
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost \
        -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" \
        -keyout "$prefix/key.pem" -out "$prefix/cert.pem" 2>/dev/null
fi

# As root, nginx would give its workers to "nobody", who may not enter PREFIX nor reach pillion's socket. Without
# root it has no choice, and complains about the directive.
[ "$(id -u)" -ne 0 ] || set -- -g "user root;" "$@"
# As many open files as this user may have; nginx warns when they are too few for its worker_connections.
ulimit -n "$(ulimit -H -n)" 2>/dev/null || true
# -e: before it has read its configuration nginx would open the machine's error log, which may not be ours.
exec "$nginx" -e stderr -p "$prefix" -c nginx.conf "$@"
