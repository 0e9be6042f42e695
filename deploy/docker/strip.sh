#!/bin/sh
# Runs in the base of the image: what installs software goes, the user of the processes comes.
set -eu

# As Debian's packages ...
installed() {
  dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^ii  *//p'
}
packages=$(installed python3-pip python3-setuptools python3-wheel python3-pkg-resources \
  python3-venv python3.11-venv python3-pip-whl python3-setuptools-whl)
# shellcheck disable=SC2086
[ -z "$packages" ] || dpkg --purge $packages >/dev/null

# ... and as the official images of Python bring it.
for package in setuptools wheel pip; do
  ! python3 -c "import $package" 2>/dev/null ||
    python3 -m pip uninstall -q -y --root-user-action=ignore --break-system-packages "$package"
done
library=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
rm -rf "$library/ensurepip" /root/.cache /var/cache/apt/archives /var/lib/apt/lists

groupadd --gid 10001 workspace
useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/workspace \
  --shell /usr/sbin/nologin --no-log-init workspace
install -d -o 10001 -g 10001 -m 0700 /var/lib/workspace
