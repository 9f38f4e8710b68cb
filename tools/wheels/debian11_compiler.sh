#!/usr/bin/env bash
# Writes FOLDER/g++, the compiler and C library of Debian 11 (glibc 2.31), to be used on Debian 12:
#   tools/wheels/debian11_compiler.sh FOLDER
#   CXX=FOLDER/g++ CUDAHOSTCXX=FOLDER/g++ make wheels CUDA=1 TENSORRT_ROOT=...
# The CUDA runtime calls functions of threads and of the dynamic loader, which glibc 2.34 has given new versions: linked
# with a later glibc, the GPU libraries need 2.34 or later. Needs debootstrap and root.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: debian11_compiler.sh FOLDER" >&2; exit 2; }
[ ! -e "$1" ] || { echo "$1 exists; remove it or choose another folder" >&2; exit 2; }
mkdir -p "$1"
root=$(realpath "$1")/root

debootstrap --foreign --variant=minbase --include=g++ bullseye "$root" http://deb.debian.org/debian
for archive in "$root"/var/cache/apt/archives/*.deb; do
    dpkg -x "$archive" "$root"
done
# Links to absolute paths would lead to this system's files.
find "$root" -type l -lname '/*' | while read -r link; do
    ln -sfnr "$root$(readlink "$link")" "$link"
done
printf '#!/bin/sh\nexec "%s/usr/bin/x86_64-linux-gnu-g++-10" --sysroot="%s" "$@"\n' "$root" "$root" > "$1/g++"
chmod +x "$1/g++"
