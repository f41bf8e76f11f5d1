#!/usr/bin/env bash
# Trains on one GPU for so many minutes, from one file that holds all pairs.
#
#   python launch/pack_pairs.py DIR PAIRS.zip
#   launch/one_gpu.sh [--dry-run] PAIRS.zip --config=FILE --workdir=DIR [FLAGS of main]
#
# Unpacks the pairs into DIR/pairs, trains with --config.max_minutes, then times the
# network and its training step. DIR then holds weights.safetensors, scores.json,
# metrics.jsonl (the curve, by minutes), training.log (with images/s) and speed.json.
#
# Settings: MINUTES of training, evaluation included (10); SPEED, flags of
# benchmarks/gpu.py ("--networks dual_global --jobs network train --seconds 120"; empty:
# nothing is timed); PYTHON (python).
#
# Exit codes: those of training; 75: it was told to stop, and the same command goes on.
set -euo pipefail

# shellcheck source=launch/common.bash
source "$(dirname "$0")/common.bash"

dry_run=false
packed="" config="" workdir=""
flags=()
for arg in "$@"; do
  case $arg in
    --help | -h)
      usage
      exit
      ;;
    --dry-run) dry_run=true ;;
    --workdir=?*) workdir=${arg#--workdir=} ;;
    --config=?*) config=$arg ;;
    --config.?* | --continue_changed) flags+=("$arg") ;;
    -*) fail "unknown argument '$arg'; --help says what there is" ;;
    *)
      [[ -z $packed ]] || fail "one PAIRS.zip at a time, not '$packed' and '$arg'"
      packed=$arg
      ;;
  esac
done
[[ -n $packed ]] || fail "PAIRS.zip is missing; launch/pack_pairs.py makes it"
[[ -n $config ]] || fail "--config=FILE is missing"
[[ -n $workdir ]] || fail "--workdir=DIR is missing"
$dry_run || [[ -f $packed ]] || fail "there is no file '$packed'"

python=${PYTHON:-python}
pairs=$workdir/pairs
if [[ ! -d $pairs ]]; then
  run mkdir -p "$workdir"
  run "$python" -m zipfile -e "$packed" "$pairs.unfinished"
  run mv "$pairs.unfinished" "$pairs"
fi

train=("$python" -m lowlight_jax.main "$config") # first: the others are its values
train+=(--config.max_minutes="${MINUTES:-10}" --config.data.root="$pairs")
train+=(--workdir="$workdir" "${flags[@]}")
speed=()
read -ra timing <<<"${SPEED---networks dual_global --jobs network train --seconds 120}"
((${#timing[@]} == 0)) ||
  speed=("$python" "$(dirname "$0")/../benchmarks/gpu.py" --output "$workdir/speed.json" "${timing[@]}")
if $dry_run; then
  words "${train[@]}"
  ((${#speed[@]} == 0)) || words "${speed[@]}"
  exit
fi

# SIGTERM is for the training, which then saves.
"${train[@]}" > >(tee -a "$workdir/training.log") 2>&1 &
pid=$!
trap 'kill -TERM "$pid" 2>/dev/null || true' TERM INT
wait_for "$pid"
((code == 0)) || exit "$code"
((${#speed[@]} == 0)) || "${speed[@]}"
