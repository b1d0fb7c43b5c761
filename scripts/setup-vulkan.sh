#!/usr/bin/env bash
# Installs Mesa's Vulkan drivers, among them the one that computes on the processor: the kernels for GPUs are tested on it
# where there is no GPU. Says and does nothing when it is there. Prints nothing but what it installs.
set -euo pipefail

packages=(mesa-vulkan-drivers libvulkan1)

has_driver() {
    compgen -G "/usr/share/vulkan/icd.d/lvp_icd*.json" >/dev/null
}

has_driver && exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup-vulkan.sh knows Debian and Ubuntu only. Please install Mesa's lavapipe driver and the Vulkan loader" >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || {
        echo "setup-vulkan.sh: run as root: apt-get install ${packages[*]}" >&2
        exit 1
    }
    as_root=(sudo)
fi
install() {
    ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive "$@" </dev/null
}

echo "setup-vulkan.sh: installing ${packages[*]}" >&2
if ! install apt-get install -y -q --no-install-recommends "${packages[@]}" >/dev/null 2>&1; then
    install apt-get update -q >/dev/null || echo "setup-vulkan.sh: apt-get update failed" >&2
    install apt-get install -y -q --no-install-recommends "${packages[@]}" >/dev/null
fi
has_driver || {
    echo "setup-vulkan.sh: no lavapipe driver in /usr/share/vulkan/icd.d after installing ${packages[*]}" >&2
    exit 1
}
