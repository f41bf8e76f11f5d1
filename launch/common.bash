# shellcheck shell=bash
# What the scripts here share. (slurm.sbatch cannot: Slurm runs a copy of it
# from elsewhere.) `run` wants $dry_run set.

usage() {
  awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
}

fail() {
  printf 'error: %s\n' "$1" >&2
  exit "${2:-2}"
}

# Words as a shell reads them, quoted only where that is needed.
words() {
  local word line="" quote="'" inside="'\\''"
  for word in "$@"; do
    if [[ ! $word =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]]; then
      word="'${word//$quote/$inside}'"
    fi
    line+=" $word"
  done
  printf '%s\n' "${line# }"
}

run() {
  if $dry_run; then words "$@"; else "$@"; fi
}

# Sets $code to how a process ended, whatever signals come to us meanwhile.
wait_for() {
  code=0
  wait "$1" || code=$?
  while kill -0 "$1" 2>/dev/null; do # `wait` was interrupted by a signal to us
    code=0
    wait "$1" || code=$?
  done
}
