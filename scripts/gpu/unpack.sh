#!/bin/sh
# Restores a bundle split by scripts/gpu/bundle.py --pack: unpack.sh PARTS FOLDER
set -eu
mkdir -p "$2"
cat $(ls -d "$1"/*/part | sort -V) | tar -C "$2" -xJ
