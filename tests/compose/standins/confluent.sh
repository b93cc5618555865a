# shellcheck shell=bash
# What the entrypoints of Confluent's images have in common.

# require NAME...: end with the name of a variable that the official image insists on.
require() {
  local name
  for name in "$@"; do
    [ -n "${!name:-}" ] || { echo "$name is required"; exit 1; }
  done
}

# properties PREFIX: one line for each variable; in a name `_` stands for `.`, `__` for `_` and
# `___` for `-`. Variables for the JVM and for the scripts are no properties.
properties() {
  local variable key
  for variable in $(compgen -e "$1"); do
    case $variable in *_HEAP_OPTS | *_OPTS | *_LOG4J_*) continue ;; esac
    key=${variable#"$1"}
    key=${key,,}
    key=${key//___/-}
    key=${key//__/%}
    key=${key//_/.}
    echo "${key//%/_}=${!variable}"
  done
}
