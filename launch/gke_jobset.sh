#!/usr/bin/env bash
# Trains on TPU or GPU nodes of a GKE cluster, as a Kubernetes JobSet.
#
#   launch/gke_jobset.sh [--dry-run] apply --config=FILE --workdir=DIR [FLAGS]
#   launch/gke_jobset.sh [--dry-run] logs | delete
#
#   apply   starts the training: one process for each node, with all its chips
#   logs    follows the log of the first process
#   delete  has the training save, and ends it
#
# FLAGS are further ones of lowlight_jax.main: --config.x.y=VALUE, --verbosity=N.
# Settings, from the environment:
#
#   NAME             of the JobSet
#   NAMESPACE        default: default
#   IMAGE            that holds the checkout, installed, as its working directory
#   TPU, TOPOLOGY    such as tpu-v5-lite-podslice and 4x8
#   CHIPS_PER_NODE   of that TPU; default: 4
#   GPU, NODES       instead: such as nvidia-h100-80gb, and how many nodes
#   GPUS_PER_NODE    default: 8
#   BUCKET           mounted at MOUNT by Cloud Storage FUSE; better hierarchical
#   CLAIM            instead: a volume claim ReadWriteMany, such as of Filestore
#   MOUNT            default: /mnt/lowlight_jax
#   SERVICE_ACCOUNT  that may write to BUCKET; default: default
#   SPOT             1 for spot nodes
#   MAX_RESTARTS     after errors and lost processes; default: 10
#
# DIR must lie under MOUNT, which all nodes see; so must --config.data.root.
#
# A training that was told to stop (exit code 75) and a node that is taken away restart
# all processes together, as often as it takes; anything else does MAX_RESTARTS times.
# The cluster needs the JobSet controller, 0.6 or later.
#
# Exit codes: those of kubectl; 2 wrong usage.
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
    apply | logs | delete)
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
[[ -n $action ]] || fail "no command given; --help lists the commands and settings"
[[ $action == apply || ${#flags[@]} == 0 ]] ||
  fail "$action takes no flags, but got '${flags[0]}'"

need() {
  local setting
  for setting in "$@"; do
    [[ -n ${!setting:-} ]] ||
      fail "$setting is not set in the environment; --help lists the settings"
  done
}

whole_number() { # NAME VALUE SMALLEST
  [[ $2 =~ ^(0|[1-9][0-9]{0,5})$ && $2 -ge $3 ]] ||
    fail "$1 is '$2'; expected a whole number from $3 up"
}

# Exactly one of two settings.
choose() {
  [[ -n ${!1:-} || -n ${!2:-} ]] || fail "neither $1 nor $2 is set in the environment"
  [[ -z ${!1:-} || -z ${!2:-} ]] || fail "$1 and $2 are both set; give one of them"
}

need NAME
namespace=${NAMESPACE:-default}
mount=${MOUNT:-/mnt/lowlight_jax}

if [[ $action == apply ]]; then
  need IMAGE
  choose TPU GPU
  choose BUCKET CLAIM
  max_restarts=${MAX_RESTARTS:-10}
  whole_number MAX_RESTARTS "$max_restarts" 0
  if [[ -n ${TPU:-} ]]; then
    need TOPOLOGY
    [[ $TOPOLOGY =~ ^[1-9][0-9]*(x[1-9][0-9]*){1,2}$ ]] ||
      fail "TOPOLOGY is '$TOPOLOGY'; expected chips such as 4x8 or 2x2x4"
    per_node=${CHIPS_PER_NODE:-4}
    whole_number CHIPS_PER_NODE "$per_node" 1
    chips=$((${TOPOLOGY//x/*}))
    ((chips % per_node == 0)) ||
      fail "$chips chips do not fill nodes of $per_node; set CHIPS_PER_NODE"
    processes=$((chips / per_node))
  else
    need NODES
    processes=$NODES
    per_node=${GPUS_PER_NODE:-8}
    whole_number NODES "$NODES" 1
    whole_number GPUS_PER_NODE "$per_node" 1
  fi
  [[ -n $config ]] || fail "apply needs --config=FILE"
  [[ -n $workdir ]] || fail "apply needs --workdir=DIR, under $mount"
  [[ $workdir/ == "$mount"/* ]] ||
    fail "--workdir=$workdir is not under $mount, which all nodes see"
fi

# A YAML string, whatever is in it.
text() {
  local value=${1//\\/\\\\}
  printf '"%s"' "${value//\"/\\\"}"
}

texts() {
  local word line=""
  for word in "$@"; do
    line+=", $(text "$word")"
  done
  printf '[%s]' "${line#, }"
}

jobset() {
  # No cache of names: a node must see at once what another one has written.
  local mount_options=implicit-dirs,rename-dir-limit=10000
  mount_options+=,metadata-cache:ttl-secs:0,metadata-cache:negative-ttl-secs:0
  local index="metadata.annotations['batch.kubernetes.io/job-completion-index']"
  local command
  command=$(texts python -m lowlight_jax.main --distributed "${flags[@]}")
  cat <<EOF
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $(text "$NAME")
  namespace: $(text "$namespace")
EOF
  # One slice is one node pool, and no other training may share it.
  [[ -z ${TPU:-} ]] || cat <<EOF
  annotations:
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool
EOF
  cat <<EOF
spec:
  network:
    enableDNSHostnames: true
    publishNotReadyAddresses: true
  failurePolicy:
    maxRestarts: $max_restarts
    # No process of the new round may meet one of the old in the workdir.
    restartStrategy: BlockingRecreate
    rules:
      - name: preempted
        action: RestartJobSetAndIgnoreMaxRestarts
        onJobFailureReasons: [PodFailurePolicy]
  replicatedJobs:
    - name: train
      replicas: 1
      template:
        spec:
          parallelism: $processes
          completions: $processes
          completionMode: Indexed
          # A process cannot rejoin: the first that fails restarts all.
          backoffLimit: 0
          podFailurePolicy:
            rules:
              - action: FailJob
                onExitCodes:
                  containerName: train
                  operator: In
                  values: [75]
              - action: FailJob
                onPodConditions:
                  - type: DisruptionTarget
                    status: "True"
          template:
EOF
  [[ -z ${BUCKET:-} ]] || cat <<EOF
            metadata:
              annotations:
                gke-gcsfuse/volumes: "true"
EOF
  cat <<EOF
            spec:
              restartPolicy: Never
              terminationGracePeriodSeconds: 120
              serviceAccountName: $(text "${SERVICE_ACCOUNT:-default}")
              nodeSelector:
EOF
  [[ ${SPOT:-} != 1 ]] || cat <<EOF
                cloud.google.com/gke-spot: "true"
EOF
  if [[ -n ${TPU:-} ]]; then
    cat <<EOF
                cloud.google.com/gke-tpu-accelerator: $(text "$TPU")
                cloud.google.com/gke-tpu-topology: $(text "$TOPOLOGY")
EOF
  else
    cat <<EOF
                cloud.google.com/gke-accelerator: $(text "$GPU")
EOF
  fi
  cat <<EOF
              containers:
                - name: train
                  image: $(text "$IMAGE")
                  command: $command
EOF
  if [[ -n ${TPU:-} ]]; then # JAX finds the other processes from what GKE sets
    cat <<EOF
                  resources:
                    limits:
                      google.com/tpu: $per_node
EOF
  else
    cat <<EOF
                  env:
                    - name: JAX_COORDINATOR_ADDRESS
                      value: $(text "$NAME-train-0-0.$NAME:8476")
                    - name: JAX_NUM_PROCESSES
                      value: "$processes"
                    - name: JAX_PROCESS_ID
                      valueFrom:
                        fieldRef:
                          fieldPath: $index
                    # Where GKE puts the driver.
                    - name: LD_LIBRARY_PATH
                      value: /usr/local/nvidia/lib64
                  resources:
                    limits:
                      nvidia.com/gpu: $per_node
EOF
  fi
  cat <<EOF
                  volumeMounts:
                    - name: shared
                      mountPath: $(text "$mount")
EOF
  [[ -z ${GPU:-} ]] || cat <<EOF
                    - name: memory
                      mountPath: /dev/shm
EOF
  cat <<EOF
              volumes:
                - name: shared
EOF
  if [[ -n ${BUCKET:-} ]]; then
    cat <<EOF
                  csi:
                    driver: gcsfuse.csi.storage.gke.io
                    volumeAttributes:
                      bucketName: $(text "$BUCKET")
                      mountOptions: $mount_options
EOF
  else
    cat <<EOF
                  persistentVolumeClaim:
                    claimName: $(text "$CLAIM")
EOF
  fi
  [[ -z ${GPU:-} ]] || cat <<EOF
                # NCCL wants more shared memory than the 64 MB a container has.
                - name: memory
                  emptyDir:
                    medium: Memory
EOF
}

case $action in
  apply)
    if $dry_run; then
      printf "%s <<'EOF'\n%s\nEOF\n" "$(words kubectl apply -f -)" "$(jobset)"
    else
      jobset | kubectl apply -f -
    fi
    run kubectl get jobset "$NAME" --namespace="$namespace"
    ;;
  logs)
    selector=jobset.sigs.k8s.io/jobset-name=$NAME
    selector+=,batch.kubernetes.io/job-completion-index=0
    run kubectl logs --namespace="$namespace" --selector="$selector" \
      --container=train --tail=100 --follow
    ;;
  delete) run kubectl delete jobset "$NAME" --namespace="$namespace" ;;
esac
