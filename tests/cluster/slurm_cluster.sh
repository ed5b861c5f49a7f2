#!/bin/sh
# A Slurm cluster on this one machine, for `make test-slurm`: two nodes, its own daemons, nothing of the system's.
#   slurm_cluster.sh start FOLDER    starts what does not run yet; then `export SLURM_CONF=FOLDER/slurm.conf`
#   slurm_cluster.sh stop FOLDER     ends the daemons of FOLDER, and no others
# Needs root, slurmctld, slurmd and munged (Debian: apt-get install slurm-wlm munge). No systemd, no accounting database.
set -eu

action=${1:?start or stop}
folder=$(realpath -m "${2:?a folder for configuration, state and logs}")
PATH=$PATH:/usr/sbin
export SLURM_CONF="$folder/slurm.conf"

is_running() { [ -f "$folder/$1.pid" ] && kill -0 "$(cat "$folder/$1.pid")" 2>/dev/null; }

write_configuration() {
    cat > "$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=16817
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
# A job that goes back into the queue waits until its old credential has expired: two minutes by default.
AuthInfo=socket=$folder/munge.socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=15
MinJobAge=3600
NodeName=node[1-2] NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=[16818-16819] State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    { cat /etc/hosts; echo "127.0.0.1 node1 node2"; } > "$folder/hosts"
}

# Only jobs know the machine by its nodes' names.
start_node() {
    mkdir -p "$folder/spool-$1"
    unshare --mount sh -c "mount --bind '$folder/hosts' /etc/hosts && exec slurmd -N $1"
}

start() {
    mkdir -p "$folder/state"
    write_configuration
    [ -f "$folder/munge.key" ] || (umask 077; head -c 128 /dev/urandom > "$folder/munge.key")
    is_running munged || munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
        --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"
    is_running slurmctld || slurmctld
    is_running slurmd-node1 || start_node node1
    is_running slurmd-node2 || start_node node2
    for _ in $(seq 120); do
        [ "$(sinfo --noheader --Node --format=%T 2>/dev/null | grep -cE '^(idle|mixed|allocated)')" = 2 ] && return
        sleep 0.5
    done
    echo "the nodes did not come up, see $folder/*.log" >&2
    exit 1
}

stop() {
    for daemon in slurmd-node1 slurmd-node2 slurmctld munged; do
        if is_running $daemon; then kill "$(cat "$folder/$daemon.pid")"; fi
    done
}

"$action"
