#!/usr/bin/env bash
# Compares every frame of every file in DIR with what the ffmpeg program gives (at most 2 of 255 levels apart), and frames
# taken out of order with those of one pass (bit for bit).
#
#   scripts/check-media.sh DIR
set -euo pipefail

directory=$(cd "${1:?name a directory of video files}" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PVCHAT_MEDIA=$directory exec cargo test --release --package pvchat-video --test media --test random -- --nocapture every_frame
