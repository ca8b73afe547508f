"""What CMake needs to build for another system: Zig as compiler, and Python's side of Windows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from targets import Target

# Facts about Windows on x86-64 that Python's headers ask for. The installed headers are those of
# this system, of which `pyconfig.h` is the only file that differs.
PYCONFIG_OF_WINDOWS = """\
#ifndef Py_CONFIG_H
#define Py_CONFIG_H
#define MS_WIN32
#define MS_WIN64
#define MS_WINDOWS
#define NT_THREADS
#define WITH_THREAD
#define HAVE_DECLSPEC_DLL
#define Py_ENABLE_SHARED 1
#define PLATFORM "win32"
#define PYD_PLATFORM_TAG "win_amd64"
#define SIZEOF_VOID_P 8
#define SIZEOF_SIZE_T 8
#define SIZEOF_TIME_T 8
#define SIZEOF_FPOS_T 8
#define SIZEOF_OFF_T 4
#define SIZEOF_HKEY 8
#define SIZEOF_SHORT 2
#define SIZEOF_INT 4
#define SIZEOF_LONG 4
#define SIZEOF_LONG_LONG 8
#define SIZEOF_FLOAT 4
#define SIZEOF_DOUBLE 8
#define SIZEOF_WCHAR_T 2
#define SIZEOF__BOOL 1
#define ALIGNOF_SIZE_T 8
#define ALIGNOF_MAX_ALIGN_T 16
#define HAVE_STDDEF_H 1
#define HAVE_SYS_TYPES_H 1
#define HAVE_SYS_STAT_H 1
#define HAVE_WCHAR_H 1
#define HAVE_UINTPTR_T 1
#define HAVE_INTTYPES_H 1
#define HAVE_STDINT_H 1
#define HAVE_COPYSIGN 1
#define HAVE_ROUND 1
#define HAVE_HYPOT 1
#define WORDS_BIGENDIAN 0
#undef WORDS_BIGENDIAN
#endif
"""
# Zig's linker for macOS fails at bundles, and a dynamic library is loaded as well. It does not read
# nanobind's list of Python's symbols, which are all looked up when the module is loaded.
FOR_MACOS = """\
for argument; do
  shift
  case $argument in
    -bundle) set -- "$@" -dynamiclib ;;
    -Wl,@*) ;;
    *) set -- "$@" "$argument" ;;
  esac
done
"""
_DECLARED = re.compile(
    r"^\s*(?:extern\s+)?(?:PyAPI_(FUNC|DATA)\s*\(([^;{]*?)\)\s*(\w+)\s*[(;\[])", re.MULTILINE
)


def zig() -> Path:
    """The compiler that PyPI's `ziglang` brings."""
    import ziglang

    return Path(ziglang.__file__).parent / "zig"


def write(target: Target, folder: Path, source: Path) -> Path:
    """A CMake toolchain file for `target` in `folder`. Paths below `source` leave no trace.

    nanobind 3.1 counts on other headers to bring <cstdio>, as those of GCC's library do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for tool in ("c++", "cc", "ar", "ranlib", "rc"):
        script = folder / f"zig-{tool}"
        first = FOR_MACOS if target.system == "Darwin" else ""
        script.write_text(f'#!/bin/sh\n{first}exec "{zig()}" {tool} "$@"\n')
        script.chmod(0o755)
    lines = [
        f"set(CMAKE_SYSTEM_NAME {target.system})",
        f"set(CMAKE_SYSTEM_PROCESSOR {target.processor})",
        f'set(CMAKE_C_COMPILER "{folder}/zig-cc")',
        f'set(CMAKE_CXX_COMPILER "{folder}/zig-c++")',
        f'set(CMAKE_RC_COMPILER "{folder}/zig-rc")',
        f"set(CMAKE_C_COMPILER_TARGET {target.triple})",
        f"set(CMAKE_CXX_COMPILER_TARGET {target.triple})",
        f'set(CMAKE_AR "{folder}/zig-ar")',
        f'set(CMAKE_RANLIB "{folder}/zig-ranlib")',
        f'set(CMAKE_CXX_FLAGS_INIT "-ffile-prefix-map={source}=. -g0 -include cstdio")',
        "set(CMAKE_TRY_COMPILE_CONFIGURATION Release)",  # one libc++ is built, not two
        "set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)",
    ]
    if target.system == "Darwin":
        # Python's symbols come with the Python that loads the module.
        lines += [
            'set(CMAKE_OSX_SYSROOT "")',
            'set(CMAKE_MODULE_LINKER_FLAGS_INIT "-Wl,-undefined,dynamic_lookup")',
        ]
    if target.system == "Windows":
        # CMake takes an import library for a static one, and links what Python asks for here.
        for name in ("crypt", "dl", "rt", "util"):
            (folder / f"lib{name}.a").write_text("!<arch>\n")
        lines.append(f'set(CMAKE_MODULE_LINKER_FLAGS_INIT "-L{folder}")')
    file = folder / f"{target.name}.cmake"
    file.write_text("\n".join(lines) + "\n")
    return file


def python_of_windows(include: Path, folder: Path, minor: int) -> tuple[Path, Path, Path]:
    """Headers, and import libraries of the DLLs of one Python and of all (the stable ABI), out of
    the headers that are installed here. CMake tells the version of a library by its name."""
    headers = folder / f"include3{minor}"
    if not headers.exists():
        headers.mkdir(parents=True)
        for path in include.iterdir():
            if path.name != "pyconfig.h":
                (headers / path.name).symlink_to(path)
        (headers / "pyconfig.h").write_text(PYCONFIG_OF_WINDOWS)
    exports = "\n".join(_exports(include))
    libraries = folder / f"python3{minor}.lib", folder / "python3.lib"
    for library in libraries:
        if not library.exists():
            listed = library.with_suffix(".def")
            listed.write_text(f"LIBRARY {library.stem}.dll\nEXPORTS\n{exports}\n")
            words = [zig(), "dlltool", "-m", "i386:x86-64", "-d", listed, "-l", library]
            subprocess.run(words, check=True, stdout=sys.stderr)
    return headers, *libraries


def _exports(include: Path) -> list[str]:
    """Names that headers declare as exported, as a linker's definition file lists them."""
    found: dict[str, str] = {}
    for path in sorted(include.rglob("*.h")):
        for kind, _, name in _DECLARED.findall(path.read_text(encoding="utf-8", errors="replace")):
            found[name] = f"  {name} DATA" if kind == "DATA" else f"  {name}"
    return [found[name] for name in sorted(found)]
