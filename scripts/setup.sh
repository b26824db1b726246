#!/bin/sh
# Installs what the tests need besides Go: a Postgres server, Chromium, Node and Python for
# the example receivers, and a C compiler for the race detector. Does nothing, and needs
# no rights, when all of it is there.
set -eu

missing=
have() { command -v "$1" >/dev/null 2>&1; }

if ! have go; then
	echo "setup: Go is missing; install the version that go.mod names or a later one: https://go.dev/dl" >&2
	exit 1
fi
have cc || have gcc || missing="$missing gcc libc6-dev"
have chromium || have chromium-browser || have google-chrome || missing="$missing chromium"
have node || missing="$missing nodejs"
have npm || missing="$missing npm"
have python3 || missing="$missing python3"
if [ -z "${RELAY_TEST_POSTGRES_URL:-}" ]; then
	bindir=$(pg_config --bindir 2>/dev/null || true)
	set -- /usr/lib/postgresql/*/bin/initdb
	[ -x "$1" ] || [ -x "$bindir/initdb" ] || have initdb || missing="$missing postgresql"
fi
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
	as_root=env
elif have sudo && sudo -n true 2>/dev/null; then
	as_root="sudo -n"
else
	as_root=
fi
if ! have apt-get || [ -z "$as_root" ]; then
	echo "setup: missing on this machine:$missing" >&2
	echo "setup: install them and run this again; on Debian and Ubuntu, as root: apt-get install$missing" >&2
	exit 1
fi

echo "setup: installing$missing"
$as_root apt-get update -qq
# shellcheck disable=SC2086 # one word a package
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
