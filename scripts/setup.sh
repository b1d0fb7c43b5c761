#!/usr/bin/env bash
# Installs what the video crate needs besides Rust: the FFmpeg libraries (5.1 or later), clang for their bindings, and the
# ffmpeg program for tests and fixtures. Says and does nothing when all of it is there.
#
#   scripts/setup.sh [PACKAGE..]     further packages to install with them
#   scripts/setup.sh --clients       pip and npm too, which fetch models and clips
set -euo pipefail

clients=
if [ "${1:-}" = --clients ]; then
    clients=yes
    shift
    # Wherever they come from: pyenv and nvm have them too.
    command -v pip >/dev/null 2>&1 || command -v pip3 >/dev/null 2>&1 || set -- "$@" python3-pip
    command -v npm >/dev/null 2>&1 || set -- "$@" npm
fi

packages=(libavcodec-dev libavformat-dev libavutil-dev libavfilter-dev libavdevice-dev libswscale-dev libswresample-dev
    clang libclang-dev pkg-config ffmpeg gcc make "$@")

has_libraries() {
    command -v pkg-config >/dev/null 2>&1 &&
        pkg-config --exists libavcodec libavformat libavutil libavfilter libavdevice libswscale libswresample
}

if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
    missing=()
    has_libraries || missing+=("the FFmpeg development libraries (libavcodec, libavformat, libavutil, libavfilter, libavdevice, libswscale, libswresample)")
    for program in pkg-config clang ffmpeg make ${clients:+pip3 npm}; do
        command -v "$program" >/dev/null 2>&1 || missing+=("$program")
    done
    [ ${#missing[@]} -eq 0 ] && exit 0
    {
        echo "setup.sh knows Debian and Ubuntu only. Please install:"
        printf '  %s\n' "${missing[@]}"
        echo "macOS:  brew install ffmpeg pkg-config llvm${clients:+ python node}"
        echo "Fedora: dnf install ffmpeg-devel ffmpeg clang-devel pkgconf gcc make${clients:+ python3-pip npm}"
        echo "Arch:   pacman -S ffmpeg clang pkgconf gcc make${clients:+ python-pip npm}"
    } >&2
    has_libraries || exit 1
    exit 0
fi

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=missing
    [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "setup.sh: run as root: apt-get install ${missing[*]}" >&2
        has_libraries || exit 1
        exit 0
    fi
    as_root=(sudo)
fi

install() {
    ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive "$@" </dev/null
}

echo "setup.sh: installing ${missing[*]}" >&2
if ! install apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null 2>&1; then
    # The lists of packages are old or absent.
    install apt-get update -q >/dev/null || echo "setup.sh: apt-get update failed" >&2
    install apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null ||
        echo "setup.sh: could not install ${missing[*]}; install them by hand" >&2
fi
has_libraries || {
    echo "setup.sh: pkg-config does not find libavcodec; install libavcodec-dev and pkg-config" >&2
    exit 1
}
