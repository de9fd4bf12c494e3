#!/usr/bin/env bash
# The demo: one model made small and promoted, then four bad candidates, each brought back by itself.
# Usage: examples/demo.sh [path of the sentei command]
set -uo pipefail
cd "$(dirname "$0")/.."
sentei=${1:-target/release/sentei}
state=${SENTEI_DEMO_STATE:-.sentei/demo}
rm -rf "$state"
mkdir -p "$state"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# expect CODE COMMAND…: the demo fails when an ending is not the one it is there to show.
expect() {
  local wanted=$1
  shift
  "$@"
  local code=$?
  if [ "$code" -ne "$wanted" ]; then
    echo "the demo expected exit code $wanted and got $code from: $*" >&2
    exit 1
  fi
}

say "1/5  Make the digits model small on its own data, prove it, canary it, promote it"
expect 0 "$sentei" pilot examples/digits/model.yaml --state "$state/promoted"

say "2/5  A candidate that is right on the whole and wrong on one slice"
expect 3 "$sentei" pilot examples/digits/planted.yaml --state "$state/wrong-slice" \
  --candidate examples/digits/forgetful.onnx --skip-gates

# The model that was just promoted, with a fault rehearsed in its server.
candidate="$state/promoted/promoted.onnx"

say "3/5  A candidate that answers 500 after a while"
expect 3 "$sentei" pilot examples/digits/planted.yaml --state "$state/errors" --candidate "$candidate" --inject error@300

say "4/5  A candidate whose server crashes"
expect 3 "$sentei" pilot examples/digits/planted.yaml --state "$state/crash" --candidate "$candidate" --inject crash@300

say "5/5  A candidate that is slow"
expect 3 "$sentei" pilot examples/digits/planted.yaml --state "$state/slow" --candidate "$candidate" --inject slow:90ms

say "Reports: $state/*/report.html"
