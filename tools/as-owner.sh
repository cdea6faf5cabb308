#!/bin/sh
# Runs a command; afterwards, if root ran it in somebody else's checkout, build/ goes to the owner
# of the checkout. After `sudo make` the user can then go on without sudo. The command itself keeps
# root's rights: dropping them would break checkouts in places that only root may enter.
#
#   tools/as-owner.sh COMMAND [ARGUMENT]...
root=$(cd "$(dirname "$0")/.." && pwd)
"$@"
status=$?
if [ "$(id -u)" -eq 0 ] && [ "$(stat -c %u "$root")" -ne 0 ] && [ -d "$root/build" ]; then
  # -h: the build tree holds links into the sources and into other folders.
  chown -hR --reference="$root" "$root/build"
fi
exit $status
