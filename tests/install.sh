#!/bin/sh
# install.sh WHAT=PACKAGE ...: installs the Debian packages of what this machine lacks. WHAT is a program, or, for a
# package that brings none, the path of a file that it brings.
set -eu

# Debian keeps nginx in a directory that only root has in its PATH.
PATH=$PATH:/usr/sbin:/sbin
missing=
for pair in "$@"; do
    what=${pair%%=*}
    case $what in
        /*) [ -e "$what" ] ;;
        *) command -v "$what" >/dev/null 2>&1 ;;
    esac || missing="$missing ${pair#*=}"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "install.sh: install$missing first (no root, no sudo)" >&2; exit 1; }
    as_root=sudo
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# A freshly installed server must not start: tests and trials run their own.
$as_root sh -c '[ -e /usr/sbin/policy-rc.d ] || { printf "#!/bin/sh\nexit 101\n" >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; touch /usr/sbin/policy-rc.d.ours; }'
trap '$as_root sh -c "[ ! -e /usr/sbin/policy-rc.d.ours ] || rm -f /usr/sbin/policy-rc.d /usr/sbin/policy-rc.d.ours"' EXIT
$as_root apt-get update -qq
# shellcheck disable=SC2086 # the list is meant to be split
$as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
