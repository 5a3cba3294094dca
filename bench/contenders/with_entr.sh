#!/bin/sh
# entr + jq; entr ends when the file it watches is replaced by another, hence the loop.
here=$(dirname "$(realpath "$0")")
cd "$1" || exit
while true; do
  echo settings.json | entr -n -p sh "$here/restore.sh" >/dev/null 2>&1
done
