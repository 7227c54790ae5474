#!/bin/sh
# Puts the bundle together that scripts/gpu/bundle.py --pack took apart: unpack.sh PARTS FOLDER
set -eu
mkdir -p "$2"
cat $(ls -d "$1"/*/part | sort -V) | tar -C "$2" -xJ
