#!/usr/bin/env bash
# Runs training as N processes of this machine, over loopback: what a pod does, in small.
#
#   launch/local_processes.sh [--dry-run] N --config=configs/smoke.py [FLAGS of main]
#
# Each process gets one CPU device (JAX_NUM_CPU_DEVICES, JAX_PLATFORMS change that). One
# that fails ends the others. The exit code is 0 if none failed, 75 if all were told to
# stop (SIGTERM or Ctrl-C here) and have saved; the same command then goes on.
set -euo pipefail

# shellcheck source=launch/common.bash
source "$(dirname "$0")/common.bash"

usage() {
  sed -n '2,4s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

dry_run=false
if [[ ${1:-} == --dry-run ]]; then
  dry_run=true
  shift
fi
count=${1:-}
[[ $count =~ ^[1-9][0-9]*$ ]] || usage
shift
[[ $* == *--config* ]] || usage

python=${PYTHON:-python}
port=${PORT:-$("$python" -c '
import socket
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    print(s.getsockname()[1])')}
export JAX_PLATFORMS=${JAX_PLATFORMS:-cpu}
export JAX_NUM_CPU_DEVICES=${JAX_NUM_CPU_DEVICES:-1}
export JAX_COORDINATOR_ADDRESS=127.0.0.1:$port
export JAX_NUM_PROCESSES=$count

pids=()
for ((i = 0; i < count; i++)); do
  command=("$python" -m lowlight_jax.main --distributed "$@")
  if $dry_run; then
    printf 'JAX_PLATFORMS=%s JAX_NUM_CPU_DEVICES=%s JAX_COORDINATOR_ADDRESS=%s ' \
      "$JAX_PLATFORMS" "$JAX_NUM_CPU_DEVICES" "$JAX_COORDINATOR_ADDRESS"
    printf 'JAX_NUM_PROCESSES=%s JAX_PROCESS_ID=%s' "$count" "$i"
    printf ' %q' "${command[@]}"
    printf '\n'
    continue
  fi
  JAX_PROCESS_ID=$i "${command[@]}" &
  pids+=($!)
done
$dry_run && exit

# One SIGTERM is enough: JAX tells the others, and all save at the same step.
trap 'kill -TERM "${pids[0]}" 2>/dev/null || true' TERM INT

status=0
for pid in "${pids[@]}"; do
  wait_for "$pid"
  ((status)) || status=$code
done
exit "$status"
