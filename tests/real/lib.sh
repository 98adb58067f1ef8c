# shellcheck shell=bash
# What run.sh is written in: servers, figures and goals.

say() { printf '\n== %s\n' "$*" >&2; }
die() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

now_ms() { date +%s%3N; }

# --- figures -----------------------------------------------------------------------------------

MISSED=0
figure() { # NAME VALUE [GOAL VERDICT]
    printf '%s\t%s\t%s\t%s\n' "$1" "$2" "${3:-}" "${4:-}" >>"$WORK/figures.tsv"
    printf '   %-52s %22s  %s %s\n' "$1" "$2" "${3:-}" "${4:-}" >&2
}
goal() { # NAME VALUE GOAL CONDITION...
    local name=$1 value=$2 goal=$3 verdict=ok
    shift 3
    "$@" || { verdict=MISSED; MISSED=$((MISSED + 1)); }
    figure "$name" "$value" "$goal" "$verdict"
}
at_most() { awk -v a="$1" -v b="$2" 'BEGIN {exit !(a <= b)}'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.3f", a / b}'; }
mb() { awk -v b="$1" 'BEGIN {printf "%.1f MB", b / 1e6}'; }

# --- the program -------------------------------------------------------------------------------

# Every call of the command line is bounded: a hang is a failure, not a wait.
sk() { timeout "${REAL_PATIENCE:-600}" "$SHARDKEEP" "$@"; }

# --- servers -----------------------------------------------------------------------------------

PIDS=()
PID=
cleanup() { local pid; for pid in "${PIDS[@]}"; do kill -9 "$pid" 2>/dev/null || true; done; }

# Starts a server on a free port and waits until it answers. Sets PID, SHARDKEEP_SERVER, START_MS.
start() { # DATA_DIR [FLAG...]
    local dir=$1 began out=$WORK/server.out
    shift
    : >"$out"
    began=$(now_ms)
    "$SHARDKEEP" serve --data-dir "$dir" --port 0 --min-free-disk-space-mb 64 "$@" \
        >"$out" 2>>"$WORK/server.log" &
    PID=$!
    PIDS+=("$PID")
    until grep -q '^shardkeep ready on ' "$out"; do
        kill -0 "$PID" 2>/dev/null || { tail -20 "$WORK/server.log" >&2; die "the server ended"; }
        [ $(($(now_ms) - began)) -lt 60000 ] || die "the server was not ready after 60 s"
        sleep 0.01
    done
    SHARDKEEP_SERVER=$(sed -n 's/^shardkeep ready on \(.*\) pid=.*/\1/p' "$out")
    export SHARDKEEP_SERVER
    sk status >/dev/null || die "a server that is ready does not answer"
    # shellcheck disable=SC2034 # run.sh reads it
    START_MS=$(($(now_ms) - began))
}

# SIGTERM: the end must be clean, and within 10 s.
stop() {
    local began code=0
    began=$(now_ms)
    kill -TERM "$PID"
    while kill -0 "$PID" 2>/dev/null; do
        [ $(($(now_ms) - began)) -le 10000 ] || die "the server did not end within 10 s"
        sleep 0.01
    done
    wait "$PID" || code=$?
    [ "$code" = 0 ] || die "the server ended with $code on SIGTERM"
}

memory() { awk -v what="$1:" '$1 == what {printf "%.0f MiB", $2 / 1024}' "/proc/$PID/status"; }

# --- bytes on disk -----------------------------------------------------------------------------

# What a data directory takes from the disk, and what `ls` would add up (sparse files at full length).
blocks() { du -s -B1 "$1" | cut -f1; }
apparent() { du -s --apparent-size -B1 "$1" | cut -f1; }
of_files() { # DIR FIND-EXPRESSION...
    local dir=$1; shift
    find "$dir" -type f "$@" -printf '%b\n' | awk '{s += $1 * 512} END {printf "%d", s}'
}
where_it_went() { # DATA_DIR
    printf '   log %s, index tables %s, index journal %s, ballast %s; lengths add up to %s\n' \
        "$(mb "$(of_files "$1" -name '*.seg')")" \
        "$(mb "$(of_files "$1" -path '*/tables/*')")" \
        "$(mb "$(of_files "$1" -name '*.jnl')")" \
        "$(mb "$(of_files "$1" -name ballast)")" \
        "$(mb "$(apparent "$1")")" >&2
}
told_bytes() { sk status --output json | sed -n 's/.*"disk_bytes": *\([0-9]*\).*/\1/p'; }

# --- comparing ---------------------------------------------------------------------------------

# Two folders hold the same names and bytes: first byte by byte, then by BLAKE3 with another
# program than ours, over what was listed when the input was made.
same() { # WANTED GOT TSV
    diff -r "$1" "$2" >&2 || die "$2 differs from $1"
    (cd "$2" && find . -type f -printf '%P\0' | sort -z | xargs -0 -r b3sum --no-names) |
        cmp - <(cut -f1 "$3") || die "$2: a BLAKE3 digest differs from what was put"
}
