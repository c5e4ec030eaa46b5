#!/bin/sh
# Install the Debian packages listed in a file (one a line, # comments) unless they are there. Root installs; others
# are told the command. Where there is no apt-get, says what is missing and goes on: only some tests need them.
set -eu
missing=""
for package in $(sed 's/#.*//' "$1"); do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "note: not a Debian system; install these yourself:$missing" >&2
elif [ "$(id -u)" -eq 0 ]; then
    echo "installing Debian packages:$missing"
    DEBIAN_FRONTEND=noninteractive apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "note: some tests need Debian packages; run: sudo apt-get install -y$missing" >&2
fi
