# Sourced by the scripts beside it: a folder that goes with the script, and the processes that it
# started, ended with it. SHARDKEEP is the program.

SHARDKEEP=${SHARDKEEP:-$(dirname "$0")/../target/release/shardkeep}
program=$(basename "$0")
scratch=$(mktemp -d "$(realpath "${DIR:-.}")/shardkeep-${program%.sh}-XXXXXX")
pids=()
cleanup() {
    local pid
    for pid in "${pids[@]}"; do
        kill -9 "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

note() { printf '%s\n' "$*" >&2; }

# wait_for WHAT COMMAND...: until it succeeds, PATIENCE seconds at most.
wait_for() {
    local what=$1 end=$((SECONDS + ${PATIENCE:-30}))
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= end)); then
            note "$program: $what did not get ready"
            tail -n 20 "$scratch"/*.log >&2
            exit 1
        fi
        sleep 0.02
    done
}

# own_server NAME ARGUMENTS...: starts a shardkeep program; its address is in `address`, its process
# in `pid`.
own_server() {
    local name=$1
    shift
    rm -f "$scratch/$name.ready" # Of an earlier start.
    "$SHARDKEEP" "$@" --host 127.0.0.1 --port 0 >"$scratch/$name.ready" 2>>"$scratch/$name.log" &
    pid=$!
    pids+=("$pid")
    wait_for "$name" grep -q 'ready on' "$scratch/$name.ready"
    address=$(sed -n 's/^shardkeep ready on \([^ ]*\) .*/\1/p' "$scratch/$name.ready")
}
