#!/usr/bin/env bash
# The clips that the tests of the video crate read, and the ffmpeg program's opinion of a clip. Rendered, nothing is
# downloaded.
#
#   scripts/fixtures.sh              makes the clips where they are missing and prints their folder
#   scripts/fixtures.sh rgb24 FILE   writes every frame of FILE as raw RGB to standard output, the reference of the tests
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

command -v ffmpeg >/dev/null 2>&1 || {
    echo "fixtures.sh: the ffmpeg program is missing; run scripts/setup.sh" >&2
    exit 1
}

if [ "${1:-}" = rgb24 ]; then
    exec ffmpeg -nostdin -v error -i "file:${2:?name a file}" -map 0:v:0 -fps_mode passthrough \
        -sws_flags accurate_rnd+full_chroma_int+bicubic -pix_fmt rgb24 -f rawvideo -
fi

target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$root/$target ;; esac
folder=$target/fixtures
stamp=$(cksum <"${BASH_SOURCE[0]}")
if [ -f "$folder/stamp" ] && [ "$(cat "$folder/stamp")" = "$stamp" ]; then
    echo "$folder"
    exit 0
fi

mkdir -p "$target"
work=$(mktemp -d "$target/fixtures.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir clips other

# Moving edges, saturated colours and numbers: shows shifted frames, swapped lines and wrong matrices alike.
render() { # SIZE FRAMES ARGUMENTS... FILE
    local size=$1 frames=$2
    shift 2
    ffmpeg -nostdin -v error -f lavfi -i "testsrc2=size=$size:rate=25" -frames:v "$frames" "$@"
}

x264=(-c:v libx264 -threads 1)
render 176x144 50 -pix_fmt yuv420p "${x264[@]}" -bf 3 -g 20 clips/h264_b_frames.mp4
render 176x144 30 -pix_fmt yuv420p10le "${x264[@]}" clips/h264_10_bit.mp4
render 176x144 30 -pix_fmt yuvj420p "${x264[@]}" -color_range pc clips/h264_full_range.mp4
render 176x144 30 -vf scale=out_color_matrix=bt709 -pix_fmt yuv420p "${x264[@]}" -colorspace bt709 -color_primaries bt709 -color_trc bt709 clips/h264_bt709.mp4
render 176x144 30 -vf scale=out_color_matrix=bt601 -pix_fmt yuv420p "${x264[@]}" -colorspace smpte170m -color_primaries smpte170m -color_trc smpte170m clips/h264_bt601.mp4
render 176x144 30 -vf scale=out_color_matrix=bt2020 -pix_fmt yuv420p10le "${x264[@]}" -colorspace bt2020nc -color_primaries bt2020 -color_trc bt2020-10 clips/h264_bt2020.mp4
render 176x144 30 -vf scale=175:143 -pix_fmt yuv444p "${x264[@]}" clips/h264_odd_size.mp4
render 176x144 20 -vf scale=175:143 -pix_fmt yuv420p -c:v ffv1 clips/ffv1_odd_size.mkv
render 176x144 1 -pix_fmt yuv420p "${x264[@]}" clips/h264_one_frame.mp4
render 176x144 50 -vf "select='not(mod(n,3))+eq(n,7)'" -fps_mode vfr -pix_fmt yuv420p "${x264[@]}" clips/h264_variable_rate.mp4
render 176x144 30 -pix_fmt yuv420p -c:v libx265 -x265-params log-level=none:pools=1:frame-threads=1 -tag:v hvc1 clips/hevc.mp4
render 176x144 30 -pix_fmt yuv420p -c:v mpeg4 -bf 2 -q:v 3 clips/mpeg4.mp4
render 176x144 30 -pix_fmt yuv420p -c:v libvpx-vp9 -threads 1 -deadline realtime -cpu-used 8 clips/vp9.webm
# Cut without encoding: the file holds frames from the key frame on and says that only the later ones are shown.
ffmpeg -nostdin -v error -ss 1 -i clips/h264_b_frames.mp4 -c copy clips/h264_edit_list.mp4
# Turned clockwise by this many degrees for display. FFmpeg 6 and later take the angle as an option of the input, older ones as
# metadata of the output, both counterclockwise.
render 176x120 20 -pix_fmt yuv420p "${x264[@]}" upright.mp4
for degrees in 90 180 270; do
    ffmpeg -nostdin -v error -display_rotation "-$degrees" -i upright.mp4 -c copy "clips/h264_rotated_$degrees.mp4" 2>/dev/null ||
        ffmpeg -nostdin -v error -i upright.mp4 -c copy -metadata:s:v "rotate=$((360 - degrees))" -y "clips/h264_rotated_$degrees.mp4"
done
render 48x32 1 -pix_fmt rgb24 clips/still.png

render 176x144 10 -pix_fmt yuv420p "${x264[@]}" -bsf:v h264_mp4toannexb -f h264 a.h264
render 96x64 10 -pix_fmt yuv420p "${x264[@]}" -bsf:v h264_mp4toannexb -f h264 b.h264
cat a.h264 b.h264 >other/size_changes.h264
render 176x144 50 -pix_fmt yuv420p "${x264[@]}" -movflags +faststart other/index_first.mp4
render 176x144 50 -pix_fmt yuv420p "${x264[@]}" -movflags +empty_moov+frag_keyframe other/fragmented.mp4
render 176x144 50 -pix_fmt yuv420p "${x264[@]}" other/clip.mkv
ffmpeg -nostdin -v error -i other/index_first.mp4 -c copy other/clip.ts
ffmpeg -nostdin -v error -f lavfi -i sine=duration=1 -c:a aac other/sound_only.m4a
ffmpeg -nostdin -v error -i other/sound_only.m4a -i clips/still.png -map 0:a -map 1:v -c copy -disposition:v attached_pic other/sound_with_cover.m4a

rm -f upright.mp4 a.h264 b.h264
echo "$stamp" >stamp
cd "$target"
rm -rf "$folder"
mv "$work" "$folder" 2>/dev/null || [ -f "$folder/stamp" ] # another test made it meanwhile
chmod 755 "$folder"
trap - EXIT
echo "$folder"
