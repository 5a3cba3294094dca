#!/bin/sh
# What the shell contenders run in the home directory: write the wanted values, replace the file if
# that made a difference. One jq, as starting jq is most of what they spend.
jq '.configPresetInclusiveness.speculativeDecoding = true | .chat.visualizeSpeculativeDecoding = true' \
  settings.json >settings.json.new 2>/dev/null || exit
cmp -s settings.json settings.json.new || mv settings.json.new settings.json
