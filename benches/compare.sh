#!/usr/bin/env bash
# Side by side with etcd and redis, in one run: every server is loaded in turn, round by round, so
# that whatever else the machine does hits all alike. Compare the ratios; absolute figures belong to
# the machine and the minute.
#
#   benches/compare.sh > compare.jsonl
#   cargo run --release --example report -- compare.jsonl CHART_DIR
#
# Needs `apt-get install redis-server etcd-server` (their programs only; nothing has to run) and a
# release build. Everything listens on loopback and keeps its data in one folder, which is removed.
# Every write of every server is on the disk before it is answered.
#
# Settings, from the environment:
#   ROUNDS=5 SECONDS_EACH=3 SIZE=1024 CONNECTIONS=8 IN_FLIGHT=16 KEYS=2000 WORKS="set get"
#   DIR=.    the disk to measure on
#   SHARDKEEP, REDIS_SERVER, REDIS_BENCHMARK, ETCD: the programs
set -euo pipefail

ROUNDS=${ROUNDS:-5}
SECONDS_EACH=${SECONDS_EACH:-3}
SIZE=${SIZE:-1024}
CONNECTIONS=${CONNECTIONS:-8}
IN_FLIGHT=${IN_FLIGHT:-16}
KEYS=${KEYS:-2000}
WORKS=${WORKS:-set get}
REDIS_SERVER=${REDIS_SERVER:-redis-server}
REDIS_BENCHMARK=${REDIS_BENCHMARK:-redis-benchmark}
ETCD=${ETCD:-etcd}
# redis-benchmark has no duration: its number of requests is bounded in time too.
REDIS_TIMEOUT=$((SECONDS_EACH * 20))

source "$(dirname "$0")/bench.sh"

for needed in "$SHARDKEEP" "$REDIS_SERVER" "$REDIS_BENCHMARK" "$ETCD"; do
    command -v "$needed" >/dev/null || {
        printf 'compare.sh: %s is not there: build with `cargo build --release`, and `apt-get install redis-server etcd-server`\n' "$needed" >&2
        exit 2
    }
done

is_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port: one that nobody listens on now.
free_port() {
    local port
    while port=$((20000 + RANDOM % 10000)) && is_open "$port"; do :; done
    printf '%s' "$port"
}

own_server shardkeep serve --data-dir "$scratch/shardkeep" --allow-user-key --min-free-disk-space-mb 1
shardkeep_address=$address shardkeep_pid=$pid
own_server noop noop --size "$SIZE"
noop_address=$address noop_pid=$pid

redis_port=$(free_port)
mkdir "$scratch/redis"
"$REDIS_SERVER" --bind 127.0.0.1 --port "$redis_port" --dir "$scratch/redis" --save '' \
    --appendonly yes --appendfsync always --auto-aof-rewrite-percentage 0 >"$scratch/redis.log" 2>&1 &
redis_pid=$!
pids+=("$redis_pid")
wait_for redis is_open "$redis_port"

etcd_port=$(free_port)
etcd_peer_port=$(free_port)
"$ETCD" --name one --data-dir "$scratch/etcd" --quota-backend-bytes $((8 << 30)) --log-level error \
    --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
    --listen-peer-urls "http://127.0.0.1:$etcd_peer_port" \
    --initial-advertise-peer-urls "http://127.0.0.1:$etcd_peer_port" \
    --initial-cluster "one=http://127.0.0.1:$etcd_peer_port" >"$scratch/etcd.log" 2>&1 &
etcd_pid=$!
pids+=("$etcd_pid")
wait_for etcd "$SHARDKEEP" bench etcd --endpoint "127.0.0.1:$etcd_port" --count 1 --warmup 0s --quiet

# cpu_ticks PID: 10 ms each.
cpu_ticks() {
    local stat
    stat=$(<"/proc/$1/stat")
    read -r -a stat <<<"${stat##*) }"
    printf '%s' $((stat[11] + stat[12]))
}

load=(--size "$SIZE" --connections "$CONNECTIONS" --in-flight "$IN_FLIGHT" --keys "$KEYS"
    --duration "${SECONDS_EACH}s" --warmup 200ms --output json --quiet)

# ours WORK ADDRESS PID
ours() {
    "$SHARDKEEP" bench "$1" --server "$2" --server-pid "$3" --user-keys "${load[@]}"
}

etcd_run() {
    local share=0
    [[ $1 == get ]] && share=1
    "$SHARDKEEP" bench etcd --endpoint "127.0.0.1:$etcd_port" --pid "$etcd_pid" --read-share "$share" "${load[@]}"
}

# redis_run WORK: as many clients as the others have requests in flight, one request each.
redis_count=20000
redis_run() {
    local before after csv range=$KEYS
    [[ $1 == set ]] && range=100000
    before=$(cpu_ticks "$redis_pid")
    csv=$(timeout "$REDIS_TIMEOUT" "$REDIS_BENCHMARK" -h 127.0.0.1 -p "$redis_port" -t "$1" -d "$SIZE" \
        -c $((CONNECTIONS * IN_FLIGHT)) -n "$redis_count" -r "$range" --csv | tail -n 1 | tr -d '"')
    after=$(cpu_ticks "$redis_pid")
    awk -F, -v count="$redis_count" -v ticks=$((after - before)) '{
        printf "{\"redis\":{\"requests\":%d,\"requests_per_second\":%s,", count, $2
        printf "\"server_cpu_us_per_request\":%.3f,", ticks * 10000 / count
        printf "\"latency_us\":{\"p50\":%d,\"p99\":%d,\"max\":%d}}}\n", $5 * 1000, $7 * 1000, $8 * 1000
    }' <<<"$csv"
}

# Values that redis' reads find.
timeout "$REDIS_TIMEOUT" "$REDIS_BENCHMARK" -h 127.0.0.1 -p "$redis_port" -t set -d "$SIZE" -c 8 \
    -n $((KEYS * 10)) -r "$KEYS" -q >/dev/null

# calibrate_redis WORK: how many requests it answers in the time.
calibrate_redis() {
    local rate
    redis_count=20000
    rate=$(redis_run "$1" | sed 's/.*"requests_per_second":\([0-9]*\).*/\1/')
    redis_count=$((rate * SECONDS_EACH + 1000))
}

# record WORK NAME ROUND COMMAND...: its JSON, on a line of its own.
record() {
    local work=$1 name=$2 round=$3 result
    shift 3
    note "$work: round $round of $ROUNDS: $name"
    result=$("$@" | tr -d '\n')
    printf '{"name":"%s","work":"%s","round":%d,"result":%s}\n' "$name" "$work" "$round" "$result"
}

printf '{"date":"%s","kernel":"%s","cpu":"%s","cores":%d,"size":%d,"in_flight":%d,"versions":{"shardkeep":"%s","redis":"%s","etcd":"%s"}}\n' \
    "$(date -u +%F)" "$(uname -r)" "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" \
    "$SIZE" $((CONNECTIONS * IN_FLIGHT)) "$("$SHARDKEEP" --version | cut -d' ' -f2)" \
    "$("$REDIS_SERVER" --version | sed 's/.*v=\([0-9.]*\).*/\1/')" \
    "$("$ETCD" --version | sed -n 's/etcd Version: //p')"

for work in $WORKS; do
    calibrate_redis "$work"
    for ((round = 1; round <= ROUNDS; round++)); do
        record "$work" shardkeep "$round" ours "$work" "$shardkeep_address" "$shardkeep_pid"
        record "$work" noop "$round" ours "$work" "$noop_address" "$noop_pid"
        record "$work" etcd "$round" etcd_run "$work"
        record "$work" redis "$round" redis_run "$work"
    done
done
