#!/bin/sh
# watchman trigger + jq, with a server of its own that keeps everything beside the home.
here=$(dirname "$(realpath "$0")")
own=$(realpath "$1")-watchman
mkdir -p "$own" && chmod 700 "$own"
server="--sockname=$own/sock --statefile=$own/state --logfile=$own/log --pidfile=$own/pid"
# shellcheck disable=SC2086
watchman $server --foreground >/dev/null 2>&1 &
# shellcheck disable=SC2086
until watchman $server --no-spawn watch "$1" >/dev/null 2>&1; do sleep 0.05; done
# shellcheck disable=SC2086
watchman $server --no-spawn -- trigger "$1" restore settings.json -- sh "$here/restore.sh" >/dev/null
wait
