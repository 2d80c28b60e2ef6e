# How the project's scripts speak. Sourced by them, never run.
# shellcheck shell=bash

say() { printf '%s: %s\n' "${0##*/}" "$*"; }
warn() { say "$@" >&2; }

# One sentence: what was asked, what was found, what to do.
die() {
  warn "$@"
  exit 1
}

# A command line that makes no sense.
usage_error() {
  warn "$@" "(see ${0##*/} --help)"
  exit 2
}

# The value of option $1, from the arguments that start with it.
option_value() {
  (($# >= 2)) || usage_error "$1 needs a value"
  printf '%s' "$2"
}

# A script's help is the comment at its head.
print_help() { awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"; }
