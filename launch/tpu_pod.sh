#!/usr/bin/env bash
# Trains on a TPU pod slice, which is asked for as a queued resource.
#
#   launch/tpu_pod.sh [--dry-run] create | install | logs | stop | delete
#   launch/tpu_pod.sh [--dry-run] train | resume --config=FILE --workdir=DIR [FLAGS]
#
#   create   asks for the slice and waits until it is there
#   install  copies this checkout to every worker, installs it there, mounts BUCKET
#   train    starts the same command on every worker, in the background
#   logs     follows the log of worker 0
#   stop     has the training save and end with exit code 75
#   resume   watches the training until it is done: a slice that was taken away is
#            deleted and created anew, with install and train; a training that ended
#            with 75 is started again
#   delete   gives the slice back
#
# FLAGS are further ones of lowlight_jax.main: --config.x.y=VALUE, --verbosity=N.
# Settings, from the environment:
#
#   NAME          of the slice
#   ZONE          such as us-west4-a
#   ACCELERATOR   such as v5litepod-16; for create and resume
#   RUNTIME       such as v2-alpha-tpuv5-lite; for create and resume
#   PROJECT       default: that of gcloud
#   CREATE_FLAGS  more flags of `gcloud compute tpus queued-resources create`: --spot
#   BUCKET        mounted by gcsfuse at MOUNT on every worker; better hierarchical
#   MOUNT         default: /mnt/lowlight_jax
#   WORKER        whose log to follow; default: 0
#   POLL_S        seconds between two looks at the slice; default: 30
#
# DIR must be one folder that all workers see: under MOUNT, or a Filestore share that is
# mounted on each of them. The same holds for --config.data.root.
#
# Exit codes: 0 done, 1 the slice or the training failed, 2 wrong usage.
set -euo pipefail

# shellcheck source=launch/common.bash
source "$(dirname "$0")/common.bash"

dry_run=false
action=""
config=""
workdir=""
flags=()
for arg in "$@"; do
  case $arg in
    --help | -h)
      usage
      exit
      ;;
    --dry-run) dry_run=true ;;
    create | install | train | logs | stop | resume | delete)
      [[ -z $action ]] || fail "one command at a time, not both '$action' and '$arg'"
      action=$arg
      ;;
    --config=?* | --config.?* | --workdir=?* | --verbosity=?*)
      case $arg in
        --config=*) config=$arg ;;
        --workdir=*) workdir=${arg#*=} ;;
      esac
      flags+=("$arg")
      ;;
    *) fail "unknown argument '$arg'; --help lists the commands and settings" ;;
  esac
done

needed=(NAME ZONE)
case $action in
  "") fail "no command given; --help lists the commands and settings" ;;
  create) needed+=(ACCELERATOR RUNTIME) ;;
  resume) needed+=(ACCELERATOR RUNTIME) ;;
esac
for setting in "${needed[@]}"; do
  [[ -n ${!setting:-} ]] ||
    fail "$setting is not set in the environment; --help lists the settings"
done

mount=${MOUNT:-/mnt/lowlight_jax}
poll_s=${POLL_S:-30}
case $action in
  train | resume)
    [[ -n $config ]] || fail "$action needs --config=FILE"
    [[ -n $workdir ]] || fail "$action needs --workdir=DIR, a folder all workers see"
    [[ $workdir == /* ]] ||
      fail "--workdir=$workdir is relative, so each worker would have its own folder"
    [[ -z ${BUCKET:-} || $workdir/ == "$mount"/* ]] ||
      fail "--workdir=$workdir is not under $mount, where the bucket is mounted"
    ;;
  *) [[ ${#flags[@]} == 0 ]] || fail "$action takes no flags, but got '${flags[0]}'" ;;
esac
place=(--zone="$ZONE")
[[ -z ${PROJECT:-} ]] || place+=(--project="$PROJECT")

queue() { # VERB [FLAG...]
  local verb=$1
  shift
  run gcloud compute tpus queued-resources "$verb" "$NAME" "${place[@]}" "$@"
}

on_workers() { # WHICH SHELL-COMMAND
  run gcloud compute tpus tpu-vm ssh "$NAME" "${place[@]}" --worker="$1" --command="$2"
}

# ACTIVE, SUSPENDED, ... as Cloud TPU calls it; GONE; UNKNOWN if gcloud cannot tell.
state() {
  local answer
  if answer=$(queue describe --format='value(state.state)' 2>/dev/null); then
    echo "$answer"
    return
  fi
  answer=$(queue describe 2>&1 >/dev/null || true)
  if [[ $answer == *NOT_FOUND* ]]; then
    echo GONE
  else
    echo "$answer" >&2
    echo UNKNOWN
  fi
}

request() {
  local more
  read -ra more <<<"${CREATE_FLAGS:-}"
  queue create --node-id="$NAME" --accelerator-type="$ACCELERATOR" \
    --runtime-version="$RUNTIME" --quiet ${more[@]+"${more[@]}"}
}

wait_until_active() {
  if $dry_run; then
    printf '%s  # every %s s, until ACTIVE\n' \
      "$(queue describe --format='value(state.state)')" "$poll_s"
    return
  fi
  local now
  while now=$(state) && [[ $now != ACTIVE ]]; do
    case $now in
      FAILED | SUSPENDING | SUSPENDED | GONE)
        fail "$NAME is $now; 'delete' it, then 'create' it again" 1
        ;;
    esac
    echo "$NAME is $now"
    sleep "$poll_s"
  done
  echo "$NAME is ACTIVE"
}

# Hosts come with the Python of their Ubuntu, which may be too old; uv brings one.
install_command() {
  echo "rm -rf ~/lowlight_jax && mkdir ~/lowlight_jax" \
    "&& tar -xzf ~/lowlight_jax.tgz -C ~/lowlight_jax && cd ~/lowlight_jax" \
    "&& PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user uv" \
    "&& { [ -x ~/venv/bin/python ] || python3 -m uv venv --python 3.12 ~/venv; }" \
    "&& python3 -m uv pip install --python ~/venv/bin/python -e '.[tpu]'"
}

# No cache of names: a worker must see at once what another one has written.
mount_command() {
  local apt=https://packages.cloud.google.com/apt
  local key=/usr/share/keyrings/cloud.google.asc
  echo "set -e; command -v gcsfuse >/dev/null ||" \
    "{ curl -fsSL $apt/doc/apt-key.gpg | sudo tee $key >/dev/null;" \
    "echo \"deb [signed-by=$key] $apt gcsfuse-\$(lsb_release -cs) main\" |" \
    "sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null;" \
    "sudo apt-get -qq update;" \
    "sudo apt-get -qq -o DPkg::Lock::Timeout=300 install -y gcsfuse; };" \
    "mountpoint -q $(words "$mount") ||" \
    "{ sudo mkdir -p $(words "$mount"); sudo chown \"\$USER\" $(words "$mount");" \
    "gcsfuse --implicit-dirs --rename-dir-limit=10000 --metadata-cache-ttl-secs=0" \
    "--metadata-cache-negative-ttl-secs=0 $(words "$BUCKET" "$mount"); }"
}

install() {
  local root archive
  root=$(cd "$(dirname "$0")/.." && pwd)
  archive=${TMPDIR:-/tmp}/lowlight_jax-$NAME.tgz
  run tar -czf "$archive" -C "$root" --exclude=./runs --exclude=./.venv \
    --exclude=__pycache__ . &&
    run gcloud compute tpus tpu-vm scp "$archive" "$NAME:lowlight_jax.tgz" \
      "${place[@]}" --worker=all &&
    on_workers all "$(install_command)" &&
    if [[ -n ${BUCKET:-} ]]; then on_workers all "$(mount_command)"; fi
}

# The process id while it runs, the exit code afterwards, lie beside the log.
train() {
  local main
  main=$(words -m lowlight_jax.main --distributed "${flags[@]}")
  main="\$HOME/venv/bin/python $main & echo \$! > ~/lowlight_jax.pid; \
wait \$!; echo \$? > ~/lowlight_jax.exit"
  on_workers all "if [ ! -e ~/lowlight_jax.exit ] \
&& kill -0 \$(cat ~/lowlight_jax.pid 2>/dev/null) 2>/dev/null; \
then echo 'it is running already' >&2; exit 1; fi; \
cd ~/lowlight_jax && rm -f ~/lowlight_jax.exit && : > ~/lowlight_jax.pid \
&& { nohup sh -c $(words "$main") >> ~/lowlight_jax.log 2>&1 < /dev/null & }"
}

# One word for each worker: exit:0, exit:75, ..., exit:running, exit:none (not started).
exit_codes() {
  on_workers all "if [ -e ~/lowlight_jax.exit ]; \
then echo exit:\$(cat ~/lowlight_jax.exit); \
elif [ -e ~/lowlight_jax.pid ]; then echo exit:running; else echo exit:none; fi"
}

resume() {
  local now codes failures=0
  if $dry_run; then
    queue describe --format='value(state.state)'
    queue delete --force --quiet
    request
    wait_until_active
    install
    train
    exit_codes
    return
  fi
  while true; do
    now=$(state)
    [[ $now == ACTIVE ]] || failures=0
    case $now in
      ACTIVE)
        # Not all answer: the slice is on its way out, and its state will say so.
        codes=$(exit_codes) || codes=""
        codes=$(grep -o 'exit:[a-z0-9]*' <<<"$codes" | sort -u || true)
        case $codes in
          "" | *running*) ;;
          exit:0)
            echo "training is done"
            return
            ;;
          *none*)
            { install && train; } || ((++failures < 3)) ||
              fail "$NAME is there, but install or train failed on it" 1
            ;;
          *exit:75*) train || ((++failures < 3)) || fail "train failed on $NAME" 1 ;;
          *)
            # A worker that was taken away ends the others before the state says so.
            ((++failures < 3)) ||
              fail "training ended with ${codes//$'\n'/, }; 'logs' says why" 1
            ;;
        esac
        ;;
      SUSPENDED | FAILED)
        echo "$NAME is $now; creating it anew"
        queue delete --force --quiet
        continue
        ;;
      GONE) request ;;
      *) echo "$NAME is $now" ;;
    esac
    sleep "$poll_s"
  done
}

case $action in
  create)
    request
    wait_until_active
    ;;
  install) install ;;
  train) train ;;
  logs) on_workers "${WORKER:-0}" 'tail -n 100 -F ~/lowlight_jax.log' ;;
  # One worker is enough: JAX tells the others, and all save at the same step.
  stop) on_workers 0 "kill -TERM \$(cat ~/lowlight_jax.pid)" ;;
  resume) resume ;;
  delete) queue delete --force --quiet ;;
esac
