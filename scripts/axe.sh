#!/bin/sh
# Fetch axe-core, which looks for what keeps people from using a page, into the tests' cache.
set -eu
place=.cache/tests/axe
[ -f "$place/node_modules/axe-core/axe.min.js" ] && exit 0
command -v npm >/dev/null 2>&1 || "$(dirname "$0")/debian.sh" npm
mkdir -p "$place"
npm install --silent --no-save --no-audit --no-fund --prefix "$place" axe-core@4
