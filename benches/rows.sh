#!/usr/bin/env bash
# The rows of benches/RESULTS.md that take more than one command: cold reads, reads beside the
# server's own chores, many keys, many connections. Each measures both sides in one run.
#
#   benches/rows.sh ROW...        rows: writers text json cold chores keys connections restart native insert
#
# Needs a release build, and root for `cold`. Everything listens on loopback and keeps its data in one
# folder, which is removed.
#
# Settings, from the environment:
#   DIR=.            the disk to measure on
#   SHARDKEEP=...    the program
#   ROUNDS=5         rounds of each side, in turn; half as many of `keys`
#   KEYS=1000000     keys of `restart`; `keys` compares 100,000 with 1,000,000
set -euo pipefail

ROUNDS=${ROUNDS:-5}
KEYS=${KEYS:-1000000}
PATIENCE=300 # Recovering many keys takes a while.
source "$(dirname "$0")/bench.sh"

# server NAME FLAGS...: with its data under that name.
server() { own_server "$1" serve --data-dir "$scratch/$1" --min-free-disk-space-mb 1 "${@:2}"; }

end() {
    kill -9 "$1" && wait "$1" 2>/dev/null || true
}

# bench WORK FLAGS...: on the server at `address`; JSON.
bench() {
    "$SHARDKEEP" bench "$1" --server "$address" --server-pid "$pid" --output json --quiet "${@:2}"
}

# field NAME...: of what was measured, from JSON on standard input.
field() {
    python3 -c '
import functools, json, sys
sides = (it for it in json.load(sys.stdin).values() if isinstance(it, dict) and "latency_us" in it)
print(functools.reduce(dict.get, sys.argv[1:], next(sides)))' "$@"
}

# median: of lines of numbers, with the least and the most.
median() { sort -g | awk '{ v[NR] = $1 } END { printf "%.3f (%.3f to %.3f)\n", v[int((NR + 1) / 2)], v[1], v[NR] }'; }

memory_kib() { awk '/^VmRSS/ { print $2 }' "/proc/$1/status"; }

ratio() { awk "BEGIN { print $1 / $2 }"; }

# Cold reads against `pread` from a segment of the same server, at the same depth, in turn.
row_cold() {
    export SHARDKEEP__STORAGE__SEGMENT_SIZE='4 GiB'
    server cold --shards 1
    local size round segment cold raw
    for size in '64 KiB' '1 MiB'; do
        local keys=8192
        [[ $size == "1 MiB" ]] && keys=1024
        for ((round = 0; round < ROUNDS; round++)); do
            cold=$(bench get --cold --warmup 0s --size "$size" --keys "$keys" --connections 8 --in-flight 1 --count 512 | field requests_per_second)
            segment=$(find "$scratch/cold/shards" -name '*.seg' -size +100M | head -n 1)
            echo 3 >/proc/sys/vm/drop_caches
            raw=$(raw read --file "$segment" --sizes "$size" --threads 8)
            ratio "$raw" "$cold"
        done | median | sed "s/^/cold Gets of $size: a pread loop is faster by /"
    done
    end "$pid"
    unset SHARDKEEP__STORAGE__SEGMENT_SIZE
}

# raw LOOP FLAGS...: operations a second of a loop without a server.
raw() {
    "$SHARDKEEP" bench raw --dir "$scratch" --loops "$1" --duration 1s --output json --quiet "${@:2}" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["loops"][0]["operations_per_second"])'
}

# Sets of 1 MiB against two plain writers with `fdatasync`, in turn; and what of them reaches the disk.
row_writers() {
    local round sets plain
    server writers
    for ((round = 0; round < ROUNDS; round++)); do
        sets=$(bench set --size '1 MiB' --in-flight 1 --duration 2s | field requests_per_second)
        plain=$(raw append --sizes '1 MiB' --threads 2)
        note "$sets MiB/s of Sets, $plain MiB/s of two plain writers"
        ratio "$sets" "$plain"
    done | median | sed 's/^/Set of 1 MiB over two plain writers: /'
    end "$pid"
}

# Sets of 16 KiB of text against one core that compresses the same at the same level.
row_text() {
    local round sets core
    server text
    for ((round = 0; round < ROUNDS; round++)); do
        sets=$(bench set --size '16 KiB' --value-kind text --duration 2s | field requests_per_second)
        core=$(raw seal --sizes '16 KiB')
        note "$sets Sets, $core values sealed by one core"
        ratio "$sets" "$core"
    done | median | sed 's/^/Set of 16 KiB of text over one core of zstd: /'
    end "$pid"
}

# 20,000 JSON values of 200 to 600 bytes against a tar of all of them through `zstd -3`.
row_json() {
    local state stored
    make_json "$scratch/values"
    tar -C "$scratch" -cf "$scratch/values.tar" values
    zstd -3 -q -f "$scratch/values.tar" -o "$scratch/values.tar.zst"
    server json --allow-user-key
    "$SHARDKEEP" put -r --user-keys --quiet --server "$address" "$scratch/values" >"$scratch/json.put"
    state=$("$SHARDKEEP" status --server "$address" --output json)
    python3 - "$state" "$(stat -c %s "$scratch/values.tar.zst")" <<'END'
import json, sys
state, tar = json.loads(sys.argv[1]), int(sys.argv[2])
store = state["store"]
shards, dictionaries = store["shards"], store["dictionary_bytes"]
stored = store["stored_bytes"] + shards * dictionaries
print(f"{state['keys']} values of {store['logical_bytes']} B, tar and zstd -3: {tar} B")
print(f"stored values and {store['dictionaries']} dictionaries in each of {shards} shards: {stored} B, {stored / tar:.3f} of it")
print(f"the log with its records' headers and keys: {state['log_bytes']} B, {state['log_bytes'] / tar:.3f} of it")
END
    end "$pid"
}

# make_json FOLDER: the same values each time.
make_json() {
    mkdir -p "$1"
    python3 - "$1" <<'END'
import json, pathlib, random, sys, uuid
draw = random.Random(20000)
names = "Anna Ben Clara David Emma Felix Greta Hugo Ida Jonas Klara Leo Mia Noah Olga Paul".split()
streets = "Lindenweg Hauptstrasse Gartenweg Bahnhofstrasse Schulgasse Am Markt Ringstrasse Mühlweg".split()
words = "handle with care please ring twice leave at the door gift wrap fragile call before delivery urgent".split()
for number in range(20000):
    order = {
        "id": str(uuid.UUID(int=draw.getrandbits(128))), "type": "order", "number": number,
        "created": f"2026-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}T{draw.randint(0, 23):02}:{draw.randint(0, 59):02}:{draw.randint(0, 59):02}Z",
        "status": draw.choice(["pending", "paid", "shipped", "returned"]),
        "customer": {"name": draw.choice(names), "email": f"{draw.choice(names).lower()}{draw.randint(1, 9999)}@example.org",
                     "street": f"{draw.choice(streets)} {draw.randint(1, 199)}"},
        "items": [{"sku": f"SKU-{draw.randint(0, 99999):05}", "quantity": draw.randint(1, 9), "price": draw.randint(99, 99999) / 100}
                  for _ in range(draw.randint(0, 4))],
    }
    if draw.random() < 0.5:
        order["note"] = " ".join(draw.choices(words, k=draw.randint(2, 8)))
    pathlib.Path(sys.argv[1], f"{number:05}.json").write_text(json.dumps(order, separators=(",", ":")))
END
}

# p99 of Gets at a steady rate, alone and beside GC, backups and scrub of another part of the data.
row_chores() {
    export SHARDKEEP__GC__CHECK_INTERVAL=1s SHARDKEEP__GC__LIVE_THRESHOLD=0.9 SHARDKEEP__STORAGE__SEGMENT_SIZE='16 MiB'
    export SHARDKEEP__SCRUB__INTERVAL=1s SHARDKEEP__SCRUB__RATE='64 MiB'
    server chores
    bench set --size '32 KiB' --count 16000 --in-flight 4 >"$scratch/filled.json"
    # Scrub and GC go on all the time; "alone" is a server without them.
    unset SHARDKEEP__GC__CHECK_INTERVAL SHARDKEEP__GC__LIVE_THRESHOLD SHARDKEEP__STORAGE__SEGMENT_SIZE
    export SHARDKEEP__SCRUB__RATE=0
    local busy_address=$address busy_pid=$pid round
    server quiet
    bench set --size '32 KiB' --count 16000 --in-flight 4 >"$scratch/filled.json"
    local quiet_address=$address quiet_pid=$pid
    (
        turn=0
        while true; do
            # GC and backups take turns.
            if "$SHARDKEEP" backup --server "$busy_address" --quiet "turn-$((turn += 1))" >/dev/null 2>&1; then
                echo "$turn" >>"$scratch/backups"
                rm -f "$scratch/chores/backups/"*
            fi
            sleep 0.2
        done
    ) &
    local chores=$!
    pids+=("$chores")
    for ((round = 0; round < ROUNDS; round++)); do
        address=$quiet_address pid=$quiet_pid
        local alone beside
        alone=$(bench get --size '1 KiB' --rate 2000 --duration 3s --keys 2000 | field latency_us p99)
        address=$busy_address pid=$busy_pid
        # An eighth of what is there dies: GC has all of its segments to rewrite.
        "$SHARDKEEP" rm --server "$address" --quiet --yes --prefix "$((2 * round % 10))" >/dev/null
        "$SHARDKEEP" rm --server "$address" --quiet --yes --prefix "$((2 * round % 10 + 1))" >/dev/null
        beside=$(bench get --size '1 KiB' --rate 2000 --duration 3s --keys 2000 | field latency_us p99)
        note "p99 $alone us alone, $beside us beside GC, backup and scrub"
        ratio "$beside" "$alone"
    done | median | sed 's/^/p99 of Gets beside GC, backup and scrub, over alone: /'
    unset SHARDKEEP__SCRUB__INTERVAL SHARDKEEP__SCRUB__RATE
    note "rounds of GC: $(grep -c 'collected' "$scratch/chores.log" || true), backups: $(grep -c . "$scratch/backups")"
    kill "$chores"
    end "$busy_pid"
    end "$quiet_pid"
}

# Throughput at 1,000,000 keys over that at 100,000: Gets of any of them, then Sets of new ones.
row_keys() {
    local round turn few many few_address few_pid many_address many_pid
    for ((round = 0; round < (ROUNDS + 1) / 2; round++)); do
        server "few-$round"
        few_address=$address few_pid=$pid
        few=$(bench get --size 100 --keys 100000 --duration 4s | field requests_per_second)
        server "many-$round"
        many_address=$address many_pid=$pid
        many=$(bench get --size 100 --keys 1000000 --duration 4s | field requests_per_second)
        echo "get $(ratio "$many" "$few")"
        for turn in 1 2 3; do
            address=$few_address pid=$few_pid
            few=$(bench set --size 100 --duration 1s | field requests_per_second)
            address=$many_address pid=$many_pid
            many=$(bench set --size 100 --duration 1s | field requests_per_second)
            echo "set $(ratio "$many" "$few")"
        done
        end "$few_pid"
        end "$many_pid"
    done >"$scratch/keys"
    local work
    for work in get set; do
        sed -n "s/^$work //p" "$scratch/keys" | median | sed "s/^/$work at 1,000,000 keys over 100,000: /"
    done
}

# Memory of a connection that does nothing, and what 4,096 of them cost the busy ones.
row_connections() {
    ulimit -n 20000
    local round
    server connections
    bench get --duration 1s --keys 2000 >/dev/null
    local before after
    before=$(memory_kib "$pid")
    # Each connection asks once in a while.
    "$SHARDKEEP" bench get --server "$address" --quiet --connections 4096 --in-flight 1 --rate 50 --duration 120s \
        --keys 100 >"$scratch/idle.txt" &
    local idle=$!
    pids+=("$idle")
    sleep 15
    after=$(memory_kib "$pid")
    note "memory: $before KiB before, $after KiB with $(find "/proc/$pid/fd" -lname 'socket:*' | wc -l) sockets"
    echo "a mostly idle connection: $(ratio "$((after - before))" 4096) KiB"
    local with=()
    for ((round = 0; round < ROUNDS; round++)); do
        with+=("$(bench get --duration 2s --keys 2000 | field requests_per_second)")
    done
    kill "$idle"
    wait "$idle" 2>/dev/null || true
    sleep 2
    for ((round = 0; round < ROUNDS; round++)); do
        ratio "${with[$round]}" "$(bench get --duration 2s --keys 2000 | field requests_per_second)"
    done | median | sed 's/^/Get beside 4,096 connections, over without: /'
    end "$pid"
}

# Memory with many small values, and the time from the start after `kill -9` to the first answer.
row_restart() {
    server restart
    bench set --size 100 --count "$KEYS" --in-flight 64 >/dev/null
    echo "$KEYS values of 100 B: $(($(memory_kib "$pid") / 1024)) MiB resident"
    end "$pid"
    local begun=${EPOCHREALTIME/./}
    server restart
    "$SHARDKEEP" get --server "$address" --quiet 0000000000000000000000000000000000000000000000000000000000000000 >/dev/null 2>&1 || true
    echo "from the start after kill -9 to the first answer: $(((${EPOCHREALTIME/./} - begun) / 1000)) ms"
    echo "then: $(($(memory_kib "$pid") / 1024)) MiB resident, $(du -sm "$scratch/restart" | cut -f1) MiB on the disk"
    end "$pid"
}

# Each call of the native protocol beside what it is compared with; ROUNDS pairs.
row_native() {
    native get --duration 1s
    native put --duration 1s
    native put --duration 1s --request-ids
    native batch-get --duration 1s
    native scan --duration 1s
    native upload --count 1
    native download --count 1
    native find-missing --duration 1s
}

# native WORK FLAGS...: its throughput over the other side's, and its bytes a second.
native() {
    "$SHARDKEEP" bench native "$@" --dir "$scratch" --pairs "$ROUNDS" --output json --quiet |
        python3 -c '
import json, sys
report = json.load(sys.stdin)
own, ratio = report["shardkeep"], report["ratio"]
spread = "{median} ({min} to {max})".format_map
values, rate = own["values_per_second"], own["bytes_per_second"] / 1e6
print(" ".join(sys.argv[1:]), "over", report["baseline"] + ":", spread(ratio["throughput"]),
      f"; {values:,.1f} values/s, {rate:,.0f} MB/s, CPU per value",
      spread(ratio["server_cpu_per_value"]), "; at most", own["server_grown_bytes"] >> 20,
      "MiB above idle")' "$@"
}

# What a second version of a file of 200 MiB takes that has 1 MiB more in its middle, at another place
# each round: values as the server counts them, compressed, and the log.
row_insert() {
    local round place before after
    for ((round = 0; round < ROUNDS; round++)); do
        server insert --allow-user-key
        head -c 200M /dev/urandom >"$scratch/first"
        place=$((100 * 1024 * 1024 + RANDOM * 31))
        { head -c "$place" "$scratch/first" && head -c 1M /dev/urandom && tail -c "+$((place + 1))" "$scratch/first"; } >"$scratch/second"
        insert_one first
        before=$("$SHARDKEEP" status --server "$address" --output json)
        insert_one second
        after=$("$SHARDKEEP" status --server "$address" --output json)
        "$SHARDKEEP" get second --server "$address" --quiet | cmp - "$scratch/second"
        python3 - "$before" "$after" <<'END'
import json, sys
before, after = map(json.loads, sys.argv[1:])
values = after["store"]["stored_bytes"] - before["store"]["stored_bytes"]
print(f"{max(values, after['log_bytes'] - before['log_bytes']) / 2**20:.3f}")
END
        end "$pid"
        rm -rf "$scratch/insert"
    done | median | sed 's/^/MiB that the second version takes, the larger of values and log: /'
}

insert_one() { "$SHARDKEEP" put "$scratch/$1" --user-keys --key "$1" --server "$address" --quiet >/dev/null; }

for row in "${@:?which rows: writers text json cold chores keys connections restart native insert}"; do
    note "$row"
    "row_$row"
done
