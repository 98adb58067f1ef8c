#!/usr/bin/env bash
# Makes the real input, once: MP4 files from ffmpeg's test sources, and a tree of small files.
# Everything is derived from the numbers below, so two machines with the same ffmpeg have the same.
#
#   $REAL_INPUT/videos      unique ones in `unique`, exact copies under other names in `again`
#   $REAL_INPUT/tree        a real tree of small files
#   $REAL_INPUT/*.tsv       what is in them: digest, bytes, path
#   $REAL_INPUT/*.zstd3     the bytes of the unique files, compressed one by one with `zstd -3`
set -euo pipefail
export LC_ALL=C

REAL_INPUT=${REAL_INPUT:-target/real-input}
REAL_VIDEOS=${REAL_VIDEOS:-210}          # unique ones; half as many copies are added
REAL_TREE=${REAL_TREE:-}                 # default: Rust's documentation, else /usr/share
REAL_TREE_FILES=${REAL_TREE_FILES:-60000}
JOBS=$(nproc)

need() { # COMMAND PACKAGE
    command -v "$1" >/dev/null && return
    local sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get install -y --no-install-recommends "$2" >/dev/null
}

# One video of about 1 MB: 10 s of 320x240 at a bit rate that makes it so. Grain keeps the encoder
# from shrinking it, and a tone of its own makes the sound differ as well.
video() { # NUMBER OUT
    local n=$1 out=$2 source grain
    grain=",noise=alls=$((8 + n % 5 * 6)):allf=t:all_seed=$n"
    case $((n % 7)) in
        0) source="testsrc2=size=320x240:rate=25" ;;
        1) source="mandelbrot=size=320x240:rate=25:start_scale=$((1 + n % 9)).5" ;;
        2) source="life=size=320x240:rate=25:mold=10:ratio=0.2:random_seed=$n"; grain= ;;
        3) source="cellauto=size=320x240:rate=25:rule=110:random_seed=$n"; grain= ;;
        4) source="gradients=size=320x240:rate=25:seed=$n:speed=0.02" ;;
        5) source="testsrc=size=320x240:rate=25:decimals=3" ;;
        6) source="sierpinski=size=320x240:rate=25:seed=$n:type=$((n % 2))" ;;
    esac
    ffmpeg -hide_banner -loglevel error -nostdin -y -threads 1 \
        -f lavfi -i "$source" -f lavfi -i "sine=frequency=$((200 + n * 5))" -t 10 \
        -vf "hue=h=$((n * 11 % 360))$grain,format=yuv420p" \
        -c:v libx264 -preset ultrafast -threads 1 -b:v 800k \
        -c:a aac -b:a 32k -map_metadata -1 -fflags +bitexact "$out.part.mp4"
    mv "$out.part.mp4" "$out"
}
export -f video

describe() { # FOLDER OUT
    (cd "$1" && find . -type f -printf '%P\0' | sort -z | xargs -0 -r stat --printf '%s\t%n\n') >"$2.sizes"
    (cd "$1" && find . -type f -printf '%P\0' | sort -z | xargs -0 -r -P1 b3sum --no-names) >"$2.sums"
    paste "$2.sums" "$2.sizes" >"$2.part"
    rm "$2.sums" "$2.sizes"
    mv "$2.part" "$2"
}

# The bytes of the unique files, each compressed by itself.
zstd3() { # FOLDER TSV OUT
    local scratch=$REAL_INPUT/zstd3.scratch from=$1 tsv=$2 out=$3
    rm -rf "$scratch"; mkdir -p "$scratch"; scratch=$(realpath "$scratch")
    (cd "$from" && awk -F'\t' '!seen[$1]++ {print $3}' "$tsv" >"$scratch.list" &&
        split -n "l/$JOBS" "$scratch.list" "$scratch.list." &&
        printf '%s\0' "$scratch".list.* |
            xargs -0 -P "$JOBS" -I{} zstd -3 -q --filelist={} --output-dir-mirror "$scratch")
    find "$scratch" -type f -name '*.zst' -printf '%s\n' | awk '{s += $1} END {printf "%d\n", s}' >"$out.part"
    [ "$(find "$scratch" -type f | wc -l)" = "$(wc -l <"$scratch.list")" ]
    rm -rf "$scratch" "$scratch".list*
    mv "$out.part" "$out"
}

make_videos() {
    need ffmpeg ffmpeg
    local dir=$REAL_INPUT/videos stamp="videos $REAL_VIDEOS v1"
    [ "$(cat "$dir.stamp" 2>/dev/null)" = "$stamp" ] && return
    echo "making $REAL_VIDEOS videos and $((REAL_VIDEOS / 2)) copies" >&2
    mkdir -p "$dir/unique" "$dir/again"
    # shellcheck disable=SC2016 # the inner shell expands it
    seq "$REAL_VIDEOS" | xargs -P "$JOBS" -I{} bash -euc \
        'out=$(printf "%s/unique/clip-%04d.mp4" "$0" "$1"); [ -s "$out" ] || video "$1" "$out"' "$dir" {}
    local n
    for n in $(seq $((REAL_VIDEOS / 2))); do
        cp "$(printf '%s/unique/clip-%04d.mp4' "$dir" $((n * 2)))" "$(printf '%s/again/copy-%04d.mp4' "$dir" "$n")"
    done
    describe "$dir" "$(realpath "$REAL_INPUT")/videos.tsv"
    zstd3 "$dir" "$(realpath "$REAL_INPUT")/videos.tsv" "$(realpath "$REAL_INPUT")/videos.zstd3"
    echo "$stamp" >"$dir.stamp"
}

make_tree() {
    local from=$REAL_TREE dir=$REAL_INPUT/tree
    if [ -z "$from" ] && command -v rustc >/dev/null; then
        from=$(rustc --print sysroot)/share/doc
        [ "$(find "$from" -type f 2>/dev/null | head -1000 | wc -l)" = 1000 ] || from=
    fi
    [ -n "$from" ] || { from=/usr/share; REAL_TREE_FILES=$((REAL_TREE_FILES < 40000 ? REAL_TREE_FILES : 40000)); }
    local stamp="tree $from $REAL_TREE_FILES v1"
    [ "$(cat "$dir.stamp" 2>/dev/null)" = "$stamp" ] && return
    echo "taking at most $REAL_TREE_FILES files of $from" >&2
    rm -rf "$dir"; mkdir -p "$dir"; dir=$(realpath "$dir")
    # Empty files are left out: user keys cannot hold them. All names are read, or `sort` ends by a
    # broken pipe, which is a failure here.
    (cd "$from" && find . -type f -size +0 -printf '%P\0' | sort -z | sed -zn "1,${REAL_TREE_FILES}p" |
        tar --null -T - -cf - | tar -xf - -C "$dir")
    describe "$dir" "$(realpath "$REAL_INPUT")/tree.tsv"
    zstd3 "$dir" "$(realpath "$REAL_INPUT")/tree.tsv" "$(realpath "$REAL_INPUT")/tree.zstd3"
    echo "$stamp" >"$dir.stamp"
}

need zstd zstd
need b3sum b3sum
need jq jq
mkdir -p "$REAL_INPUT"
make_videos
make_tree
