#!/usr/bin/env bash
# The main job on real input: videos and a tree of small files, put, read back, measured, killed,
# backed up and restored. Prints a table of figures and fails when a goal is missed.
#
#   tests/real/run.sh                 from anywhere in the repository; some minutes
#   tests/real/run.sh tree_user killed_tree     only these steps
#   REAL_VIDEOS=30 REAL_TREE=/usr/share/doc REAL_TREE_FILES=2000 tests/real/run.sh    a quick look
#
# Needs a Debian with apt (installs ffmpeg, zstd, b3sum and jq when missing) and about 5 GB of disk.
# SHARDKEEP names another binary, REAL_INPUT and REAL_WORK other directories than those in target/.
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

export REAL_INPUT=${REAL_INPUT:-target/real-input}
WORK=${REAL_WORK:-target/real-work}
SHARDKEEP=${SHARDKEEP:-target/release/shardkeep}
export LC_ALL
# shellcheck source=tests/real/lib.sh
. "$here/lib.sh"
trap cleanup EXIT

prepare() {
    "$here/input.sh"
    [ "$SHARDKEEP" != target/release/shardkeep ] || cargo build --release
    rm -rf "$WORK"
    mkdir -p "$WORK"
    WORK=$(realpath "$WORK") SHARDKEEP=$(realpath "$SHARDKEEP") INPUT=$(realpath "$REAL_INPUT")
    UNIQUE_VIDEO_BYTES=$(awk -F'\t' '!seen[$1]++ {s += $2} END {printf "%d", s}' "$INPUT/videos.tsv")
    local what
    for what in videos tree; do
        figure "$what: files, bytes" \
            "$(awk -F'\t' '{n++; s += $2} END {printf "%d, %.1f MB", n, s / 1e6}' "$INPUT/$what.tsv")"
        figure "$what: unique files, bytes" \
            "$(awk -F'\t' '!seen[$1]++ {n++; s += $2} END {printf "%d, %.1f MB", n, s / 1e6}' "$INPUT/$what.tsv")"
        figure "$what: unique, each by zstd -3" "$(mb "$(cat "$INPUT/$what.zstd3")")"
    done
}

# Puts a folder; keeps the list of keys, and the summary as figures.
put() { # TITLE FOLDER LIST [FLAG...]
    local title=$1 folder=$2 list=$3
    shift 3
    sk put -r "$folder" "$@" >"$list" 2>"$list.summary" || die "put -r: $(tail -3 "$list.summary")"
    figure "$title: put -r" "$(rate "$list.summary")"
}
get() { # TITLE TARGET ARGUMENT...
    local title=$1 target=$2
    shift 2
    sk get -r "$@" "$target" 2>"$target.summary" || die "get -r: $(tail -3 "$target.summary")"
    figure "$title: get -r" "$(rate "$target.summary")"
}
rate() { # the first line of a summary: `N files, B in S s (R/s)`
    sed -n '1s/.* in \(.*\) s (\(.*\))$/\1 s, \2/p' "$1"
}

# What a store takes beside its values does not shrink with them, so little input is no measure.
share() { # NAME TAKEN LIMIT-FACTOR BYTES
    local name=$1 value
    value="$(mb "$2") = $(ratio "$2" "$4")"
    if [ "$4" -lt 20000000 ]; then
        figure "$name" "$value"
    else
        goal "$name" "$value" "<= $3" at_most "$(ratio "$2" "$4")" "$3"
    fi
}

# The bytes on the disk, told by the system and by the server, against a goal.
stored() { # TITLE DATA_DIR LIMIT-FACTOR BYTES
    local title=$1 dir=$2 factor=$3 bytes=$4
    share "$title: on disk, running" "$(blocks "$dir")" "$factor" "$bytes"
    share "$title: what status says" "$(told_bytes)" "$factor" "$bytes"
    where_it_went "$dir"
}
stored_closed() { # TITLE DATA_DIR LIMIT-FACTOR BYTES
    local title=$1 dir=$2 factor=$3 bytes=$4
    share "$title: on disk, stopped" "$(blocks "$dir")" "$factor" "$bytes"
    where_it_went "$dir"
}
restart() { # TITLE DATA_DIR [FLAG...]
    local title=$1
    shift
    start "$@"
    goal "$title: start to first answer" "$START_MS ms" "< 2000 ms" at_most "$START_MS" 1999
}

videos() {
    say "videos, content keys"
    start "$WORK/videos.data"
    goal "empty server: memory" "$(memory VmRSS)" "< 100 MiB" at_most "$(memory VmRSS | cut -d" " -f1)" 99
    put "videos" "$INPUT/videos" "$WORK/videos.list"
    stored "videos" "$WORK/videos.data" 1.01 "$UNIQUE_VIDEO_BYTES"
    get "videos" "$WORK/videos.back" "$WORK/videos.list"
    same "$INPUT/videos" "$WORK/videos.back" "$INPUT/videos.tsv"
    put "videos, all there already" "$INPUT/videos" "$WORK/videos.again"
    cmp <(sort "$WORK/videos.list") <(sort "$WORK/videos.again") || die "the second put printed other keys"
    figure "videos: memory now, at most" "$(memory VmRSS), $(memory VmHWM)"
    stop
    stored_closed "videos" "$WORK/videos.data" 1.01 "$UNIQUE_VIDEO_BYTES"
    # It goes on running: the backups are made of it.
    restart "videos" "$WORK/videos.data"
}

# Goes on with the videos' server: full backup, the tree put beside, increment, restore of both.
backups() {
    say "backup and restore"
    local full next max
    full=$(sk backup real 2>/dev/null)
    [ -s "$full" ] || die "no backup at $full"
    max=${full%].zstdb.bak}; max=${max##*-}
    put "tree, beside the videos" "$INPUT/tree" "$WORK/both.list"
    next=$(sk backup real --since "$max" 2>/dev/null)
    figure "backup: full, increment" "$(mb "$(stat -c %s "$full")"), $(mb "$(stat -c %s "$next")")"
    sk ls --long | sed 's/  */ /g' >"$WORK/live.ls"
    stop
    sk restore --data-dir "$WORK/restored.data" "$full" "$next" 2>"$WORK/restore.log" >&2 ||
        die "restore: $(tail -3 "$WORK/restore.log")"
    start "$WORK/restored.data"
    sk ls --long | sed 's/  */ /g' | cmp - "$WORK/live.ls" || die "the restored keys, versions or sums differ"
    get "restored videos" "$WORK/videos.restored" "$WORK/videos.list"
    same "$INPUT/videos" "$WORK/videos.restored" "$INPUT/videos.tsv"
    get "restored tree" "$WORK/tree.restored" "$WORK/both.list"
    same "$INPUT/tree" "$WORK/tree.restored" "$INPUT/tree.tsv"
    stop
    rm -rf "$WORK"/{videos,restored}.data "$WORK"/{videos,tree}.{back,restored}
    goal "full and incremental backup, restored" "equal" "equal" true
}

tree() { # MODE
    local mode=$1 data=$WORK/tree-$1.data zstd3 serve=() put=() get
    zstd3=$(cat "$INPUT/tree.zstd3")
    get=("$WORK/tree-$mode.list")
    say "tree, $mode keys"
    if [ "$mode" = user ]; then
        serve=(--allow-user-key) put=(--user-keys --prefix tree/) get=(--prefix tree/)
    fi
    start "$data" "${serve[@]}"
    put "tree, $mode keys" "$INPUT/tree" "$WORK/tree-$mode.list" "${put[@]}"
    stored "tree, $mode keys" "$data" 1.3 "$zstd3"
    get "tree, $mode keys" "$WORK/tree-$mode.back" "${get[@]}"
    same "$INPUT/tree" "$WORK/tree-$mode.back" "$INPUT/tree.tsv"
    figure "tree, $mode keys: memory now, at most" "$(memory VmRSS), $(memory VmHWM)"
    stop
    stored_closed "tree, $mode keys" "$data" 1.3 "$zstd3"
    restart "tree, $mode keys" "$data" "${serve[@]}"
    stop
    sk verify "$data" >"$WORK/verify.txt" 2>&1 ||
        goal "tree, $mode keys: verify" "$(tail -1 "$WORK/verify.txt" | cut -c1-60)" "no damage" false
    rm -rf "$data" "$WORK/tree-$mode.back"
}

videos_and_backups() { videos; backups; }
tree_content() { tree content; }
tree_user() { tree user; }

# Kills the server when so many files are acknowledged, and wants every one of them back.
kill_in_the_middle() { # WHAT ACKNOWLEDGED
    local what=$1 enough=$2 list=$WORK/killed-$1.list client acknowledged
    say "kill -9 in the middle of the $what"
    start "$WORK/killed.data"
    : >"$list"
    sk put -r "$INPUT/$what" >"$list" 2>"$list.log" &
    client=$!
    until [ "$(wc -l <"$list")" -ge "$enough" ] || ! kill -0 "$client" 2>/dev/null; do sleep 0.01; done
    kill -9 "$PID"
    wait "$PID" 2>/dev/null || true
    wait "$client" && die "the put ended well although its server was killed"
    # The last line may be torn, as the line of any program that ends early.
    acknowledged=$(wc -l <"$list")
    head -n "$acknowledged" "$list" >"$list.whole"
    restart "$what, killed" "$WORK/killed.data"
    sk get -r "$list.whole" "$WORK/killed.back" 2>"$WORK/killed.summary" ||
        die "acknowledged files are missing: $(tail -3 "$WORK/killed.summary")"
    (cd "$WORK/killed.back" && find . -type f -print0 | while IFS= read -r -d '' file; do
        cmp "$file" "$INPUT/$what/$file" || exit 1
    done) || die "an acknowledged file came back different"
    goal "$what: acknowledged before kill -9, read back" "$acknowledged, all" "all" \
        test "$(find "$WORK/killed.back" -type f | wc -l)" = "$acknowledged"
    put "$what, going on after the kill" "$INPUT/$what" "$list"
    rm -rf "$WORK/killed.back"
    sk get -r "$list" "$WORK/killed.back" 2>/dev/null
    same "$INPUT/$what" "$WORK/killed.back" "$INPUT/$what.tsv"
    stop
    rm -rf "$WORK/killed.back" "$WORK/killed.data"
}

killed_videos() { kill_in_the_middle videos "$(($(wc -l <"$INPUT/videos.tsv") / 10))"; }
killed_tree() { kill_in_the_middle tree "$(($(wc -l <"$INPUT/tree.tsv") / 3))"; }

# zstdb's own backups, into a new directory: keys, lengths, checksums and versions as its JSON says.
zstdb_samples() {
    say "zstdb's own backups"
    local samples
    samples=$(realpath "$here/../data/zstdb")
    sk import --data-dir "$WORK/import.data" \
        "$samples/sample_[0_24].zstdb.bak" "$samples/sample_[24_27].zstdb.bak" >"$WORK/import.log" 2>&1 ||
        die "import: $(tail -3 "$WORK/import.log")"
    start "$WORK/import.data" --allow-user-key
    sk ls --long | awk '{printf "%s %s %s %s\n", $4, $1, $2, $3}' >"$WORK/import.got"
    jq -r '.keys | to_entries[] | [.key, .value.length, .value.ver64, .value.blake3] | @tsv' \
        "$samples/sample-after-increment.json" >"$WORK/import.wanted"
    cmp <(cut -d' ' -f1-3 "$WORK/import.got" | sort) <(cut -f1-3 "$WORK/import.wanted" | tr '\t' ' ' | sort) ||
        die "the imported keys, lengths or versions differ"
    local key digest
    while IFS=$'\t' read -r key _ _ digest; do
        [ "$(sk get --user-keys "$key" | b3sum --no-names)" = "$digest" ] || die "$key: other bytes than in zstdb"
    done <"$WORK/import.wanted"
    goal "zstdb's samples, imported" "$(wc -l <"$WORK/import.wanted") keys, equal" "equal" true
    stop
}

steps=("$@")
[ $# -gt 0 ] || steps=(videos_and_backups tree_content tree_user killed_videos killed_tree zstdb_samples)
prepare
for step in "${steps[@]}"; do "$step"; done

printf '\n'
column -t -s $'\t' -o '  ' -N FIGURE,VALUE,GOAL, "$WORK/figures.tsv"
[ "$MISSED" = 0 ] || { printf '\n%d goals missed\n' "$MISSED"; exit 1; }
printf '\nall goals met\n'
