#!/usr/bin/env bash
# Installs what a build for 64-bit Arm needs into .deps/aarch64: a Rust compiler with Arm's standard library,
# GCC's cross compilers, and QEMU to run the programs. They are Debian's packages, downloaded and checked by
# apt; the system stays as it is, and root is not needed. About 200 MB are downloaded.
#
#   scripts/aarch64.sh             installs; does nothing if everything is in place
#   scripts/aarch64.sh versions    prints the packages and versions that are installed
#
# Afterwards .deps/aarch64/bin has rustc, aarch64-linux-gnu-gcc, -g++ and -strip, and qemu-aarch64;
# .deps/aarch64/sysroot has Arm's C library.
set -euo pipefail
cd "$(dirname "$0")/.."

# Rust and QEMU come from Debian's testing suite, which moves: these versions were tested.
testing=forky
rust=1.97
llvm=22
qemu=11
# GCC comes from a stable suite with an older C library, so that programs need no newer one.
stable=bookworm
gcc=12

rust_packages=(
    rustc "libstd-rust-$rust" libstd-rust-dev libstd-rust-dev:arm64 qemu-user
    # rustc's libraries, down to the C library, because the system's may be too old.
    "libllvm$llvm" libz3-4 libc6 libgcc-s1 libstdc++6 libzstd1 zlib1g libxml2-16 libedit2 libmd0 libbsd0 libffi8
    libtinfo6
)
gcc_packages=(
    "gcc-$gcc-aarch64-linux-gnu" "g++-$gcc-aarch64-linux-gnu" "cpp-$gcc-aarch64-linux-gnu" binutils-aarch64-linux-gnu
    "libgcc-$gcc-dev-arm64-cross" "libstdc++-$gcc-dev-arm64-cross" libgcc-s1-arm64-cross libstdc++6-arm64-cross
    libatomic1-arm64-cross libc6-arm64-cross libc6-dev-arm64-cross linux-libc-dev-arm64-cross
    # The compilers' libraries.
    libisl23 libmpc3 libmpfr6 libgmp10 libjansson4 libzstd1 zlib1g
)

root=$PWD/.deps/aarch64
libraries=usr/lib/x86_64-linux-gnu
keys=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
    echo "scripts/aarch64.sh: $*" >&2
    exit 1
}

if [[ ${1:-} == versions ]]; then
    [[ -f $root/stamp ]] || fail "nothing is installed yet: call it without an argument"
    exec cat "$root/versions"
fi
[[ $# -eq 0 ]] || fail "the only argument is versions, not $1"

# A changed script installs anew.
stamp=$(sha256sum < scripts/aarch64.sh)
ready() { [[ -f $root/stamp && $(< "$root/stamp") == "$stamp" ]]; }
if ready; then exit 0; fi
[[ $(uname -sm) == "Linux x86_64" ]] || fail "the tools run on Linux on x86_64, this is $(uname -sm)"
for tool in apt-get apt-cache dpkg-deb; do
    command -v "$tool" > /dev/null || fail "$tool is missing: the tools are Debian's packages; use Debian or Ubuntu"
done
[[ -f $keys ]] || fail "$keys is missing: apt-get install debian-archive-keyring"
mkdir -p "$root"
exec 9> "$root/lock"
flock 9
if ready; then exit 0; fi
# Other parts of this folder are deps.py's.
rm -rf "$root"/{apt-*,bin,gcc,rust,stamp,sysroot,versions}
mkdir -p "$root/bin"

# Reads a suite's lists with a configuration of our own.
read_lists() { # SUITE ARCHITECTURE...
    local suite=$1 apt=$root/apt-$1
    mkdir -p "$apt"/{archives/partial,etc/apt.conf.d,etc/preferences.d,lists/partial,packages,state}
    : > "$apt/status"
    echo "deb [signed-by=$keys] http://deb.debian.org/debian $suite main" > "$apt/sources.list"
    # Lists of testing expire after a week, and a mirror may be older; their signature is checked all the same.
    cat > "$apt/apt.conf" <<END
Dir "$apt";
Dir::State "$apt/state";
Dir::State::Lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
Dir::Etc "$apt/etc";
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "-";
APT::Architecture "amd64";
APT::Architectures { $(printf '"%s"; ' "${@:2}") };
APT::Sandbox::User "";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
END
    APT_CONFIG=$apt/apt.conf apt-get update -qq || fail "apt cannot read the lists of Debian's suite $suite"
}

candidate() { # SUITE PACKAGE
    APT_CONFIG=$root/apt-$1/apt.conf apt-cache policy "$2" | sed -n 's/^  Candidate: \([^(].*\)/\1/p'
}

# Downloads and unpacks packages.
unpack() { # SUITE FOLDER PACKAGE...
    local suite=$1 folder=$2 package version archive
    local -a wanted=()
    for package in "${@:3}"; do
        version=$(candidate "$suite" "$package")
        [[ -n $version ]] || fail "Debian's suite $suite has no package $package"
        wanted+=("$package=$version")
        echo "$package $version ($suite)" >> "$root/versions"
    done
    (cd "$root/apt-$suite/packages" && APT_CONFIG=$root/apt-$suite/apt.conf apt-get download -qq "${wanted[@]}") \
        || fail "apt cannot download the packages of $suite"
    for archive in "$root/apt-$suite/packages"/*.deb; do
        dpkg-deb --extract "$archive" "$folder"
    done
    rm -rf "$root/apt-$suite"
}

read_lists "$testing" amd64 arm64
for package in rustc=$rust libstd-rust-dev=$rust libstd-rust-dev:arm64=$rust "libllvm$llvm=$llvm" qemu-user=$qemu; do
    name=${package%=*} expected=${package#*=} found=$(candidate "$testing" "${package%=*}")
    # Versions may start with an epoch, as in 1:11.1.2.
    [[ ${found#*:} == "$expected".* ]] || fail "Debian's suite $testing has moved: $name is at version" \
        "${found:-(none)}, $expected was tested. Set rust, llvm and qemu in scripts/aarch64.sh to the suite's" \
        "versions and run make test-aarch64"
done
[[ $(candidate "$testing" rustc) == "$(candidate "$testing" libstd-rust-dev:arm64)" ]] || fail "Debian's suite" \
    "$testing is between two versions: rustc is at $(candidate "$testing" rustc), its library for Arm at" \
    "$(candidate "$testing" libstd-rust-dev:arm64). Try again in a few days"
read_lists "$stable" amd64
echo "downloading the tools for 64-bit Arm (200 MB)"
# rustc and gcc need different versions of some libraries, so they have folders of their own.
unpack "$testing" "$root/rust" "${rust_packages[@]}"
unpack "$stable" "$root/gcc" "${gcc_packages[@]}"
ln -s gcc/usr/aarch64-linux-gnu "$root/sysroot"
# QEMU for other processors, documentation.
find "$root/rust/usr/bin" -name 'qemu-*' ! -name qemu-aarch64 -delete
rm -rf "$root"/{rust,gcc}/usr/share

# rustc needs the C library that it was built with.
cat > "$root/bin/rustc" <<END
#!/bin/sh
usr='$root/rust/usr'
exec "\$usr/lib64/ld-linux-x86-64.so.2" --library-path "\$usr/${libraries#usr/}" "\$usr/bin/rustc" --sysroot "\$usr" "\$@"
END
for compiler in gcc g++; do
    cat > "$root/bin/aarch64-linux-gnu-$compiler" <<END
#!/bin/sh
export LD_LIBRARY_PATH='$root/gcc/$libraries'
exec '$root/gcc/usr/bin/aarch64-linux-gnu-$compiler-$gcc' --sysroot='$root/gcc' "\$@"
END
done
cat > "$root/bin/aarch64-linux-gnu-strip" <<END
#!/bin/sh
export LD_LIBRARY_PATH='$root/gcc/$libraries'
exec '$root/gcc/usr/bin/aarch64-linux-gnu-strip' "\$@"
END
ln -s ../rust/usr/bin/qemu-aarch64 "$root/bin/qemu-aarch64"
chmod +x "$root"/bin/{rustc,aarch64-linux-gnu-gcc,aarch64-linux-gnu-g++,aarch64-linux-gnu-strip}
echo "$stamp" > "$root/stamp"
echo "the tools for 64-bit Arm are ready in $root"
