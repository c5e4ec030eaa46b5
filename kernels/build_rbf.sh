#!/bin/sh
# Build a real partial-reconfiguration bitstream from a kernel folder with the Intel FPGA SDK for OpenCL.
#
#   kernels/build_rbf.sh [--check] [--board NAME] [--board-package DIR] [--out DIR] KERNEL_FOLDER
#
#   --check          only say which tools are there and which are missing
#   --board          board variant of the board package (default p385a_mac_ax115, the paper's MAC-type shell);
#                    `aoc -list-boards` lists what is installed
#   --board-package  the board package with the SAF shell (default: $AOCL_BOARD_PACKAGE_ROOT)
#   --out            where results go (default: build/ in the kernel folder)
#
# Steps: aoc compiles the sources against the shell's base revision (hours); the PR bitstream of the kernel region,
# section .acl.core.rbf, is taken out of the .aocx with `aocl binedit`; word 71 of it (POF id) is compared with
# pr_compat_id of kernel.yaml. Exit codes: 0 done, 1 something failed, 2 wrong use, 3 tools are missing.
set -eu

board=p385a_mac_ax115
package=${AOCL_BOARD_PACKAGE_ROOT:-}
out=
check_only=no
folder=

usage() { sed -n '4,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }

while [ $# -gt 0 ]; do
    case $1 in
        --check) check_only=yes; shift ;;
        --board|--board-package|--out)
            [ $# -ge 2 ] || usage
            case $1 in --board) board=$2 ;; --board-package) package=$2 ;; --out) out=$2 ;; esac
            shift 2 ;;
        -*) usage ;;
        *) [ -z "$folder" ] || usage; folder=$1; shift ;;
    esac
done
[ -n "$folder" ] || [ $check_only = yes ] || usage

missing=0
lack() { printf 'missing: %s\n         %s\n' "$1" "$2" >&2; missing=$((missing + 1)); }
have() { printf 'found:   %s\n' "$1"; }

root=${INTELFPGAOCLSDKROOT:-}
if [ -n "$root" ]; then PATH=$root/bin:$PATH; fi
if [ -z "$root" ]; then
    lack 'INTELFPGAOCLSDKROOT is not set' \
         'install the Intel FPGA SDK for OpenCL (18.1 suits a 385A) from the Intel FPGA download center, then source its init_opencl.sh'
else
    have "INTELFPGAOCLSDKROOT=$root"
fi
for tool in aoc aocl; do
    if path=$(command -v $tool); then have "$path"; else
        lack "$tool" 'part of the Intel FPGA SDK for OpenCL; source init_opencl.sh of the installation'
    fi
done
if path=$(command -v quartus_sh); then have "$path"; else
    lack 'quartus_sh' 'Quartus Prime Pro of the same version, with Arria 10 support and a licence; set QUARTUS_ROOTDIR_OVERRIDE and PATH'
fi
if [ -z "$package" ]; then
    lack 'board package' 'the 385A board package comes from BittWare to owners of the card; pass --board-package or set AOCL_BOARD_PACKAGE_ROOT'
elif [ ! -f "$package/board_env.xml" ]; then
    lack "$package/board_env.xml" 'this folder is not a board package'
else
    have "board package $package"
    if command -v aoc >/dev/null && ! aoc -board-package="$package" -list-boards 2>&1 | grep -qw -- "$board"; then
        lack "board $board in that package" 'choose one of `aoc -board-package=… -list-boards` with --board'
    fi
fi
here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
python=${PYTHON:-}
if [ -z "$python" ]; then
    if [ -x "$here/.venv/bin/python" ]; then python=$here/.venv/bin/python; else python=python3; fi
fi
if PYTHONPATH=$here "$python" -c 'import safhost.plan.kernelspec' 2>/dev/null; then have "safhost for $python"; else
    lack 'safhost' 'run make in the checkout, or set PYTHON to an interpreter that has it'
fi

if [ $missing -gt 0 ]; then
    printf '%s of the things needed are missing; virtual cards need none of them: safhost image build\n' "$missing" >&2
    exit 3
fi
[ $check_only = no ] || exit 0

# one line each: name, PR compatibility id, options, then sources and include folders
describe() {
    PYTHONPATH=$here "$python" - "$folder" "$1" <<'EOF'
import sys
from pathlib import PurePosixPath
from safhost.plan.kernelspec import KernelPackage

package = KernelPackage.load(sys.argv[1])
folders = {str(PurePosixPath(i).parent) if (package.folder / i).is_file() else i for i in package.includes}
print({"name": package.name, "compat": f"{package.pr_compat_id:08x}", "options": package.options,
       "sources": "\n".join(package.sources), "includes": "\n".join(sorted(folders | {"."}))}[sys.argv[2]])
EOF
}
name=$(describe name)
compat=$(describe compat)
options=$(describe options)
folder=$(CDPATH='' cd -- "$folder" && pwd)
out=${out:-$folder/build}
mkdir -p "$out"
out=$(CDPATH='' cd -- "$out" && pwd)

set --
old_ifs=$IFS
IFS='
'
# a source's own folder is searched anyway
for include in $(describe includes); do [ "$include" = . ] || set -- "$@" -I "$folder/$include"; done
for source in $(describe sources); do set -- "$@" "$folder/$source"; done
IFS=$old_ifs

echo "compiling $name for $board (this takes hours)"
# options are several words on purpose
# shellcheck disable=SC2086
(cd "$out" && aoc -board-package="$package" -board="$board" -report $options -o "$name.aocx" "$@")
aocl binedit "$out/$name.aocx" get .acl.fpga.bin "$out/fpga.bin"
if ! aocl binedit "$out/fpga.bin" exists .acl.core.rbf; then
    echo "fpga.bin holds no .acl.core.rbf: the board package compiled its base revision, not a PR persona" >&2
    exit 1
fi
aocl binedit "$out/fpga.bin" get .acl.core.rbf "$out/$name.rbf"
cp "$folder/kernel.yaml" "$out/$name.yaml"

found=$(od -An -tx4 -j284 -N4 "$out/$name.rbf" | tr -d ' \n')
echo "$out/$name.rbf: $(wc -c < "$out/$name.rbf") bytes, PR compatibility id 0x$found"
if [ "$found" != "$compat" ]; then
    echo "kernel.yaml says 0x$compat: set pr_compat_id to 0x$found in $out/$name.yaml if this is the shell on your cards" >&2
fi
echo "next: safhost image inspect $out/$name.rbf; safhost program --broadcast $out/$name.rbf"
