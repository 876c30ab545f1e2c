#!/bin/sh
# Create or complete .venv in the repository root. Only looks for a Python; setup_env.py does the rest.
# Usage: tools/dev/setup_env.sh   (called by make; does nothing where everything is installed)
set -eu
cd "$(dirname "$0")/../.."

# Exit status: 0 usable, 10 wrong version, 11 no venv or ensurepip, anything else: it does not run.
probe='
import sys
if not (3, 10) <= sys.version_info[:2] <= (3, 12):
    sys.exit(10)
try:
    import ensurepip, venv
except ImportError:
    sys.exit(11)
'

if [ -e .venv/bin/python ]; then
    status=0
    .venv/bin/python -c "$probe" </dev/null >/dev/null 2>&1 || status=$?
    case $status in
        0 | 11) exec .venv/bin/python tools/dev/setup_env.py ;;
        10)
            version=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
            echo "mmkd: .venv has Python $version, and 3.10, 3.11 or 3.12 is needed:" \
                'remove the folder .venv and run this again.' >&2
            exit 1
            ;;
    esac
    echo 'mmkd: the Python of .venv does not run any more, so .venv is made anew.' >&2
fi

# A name on the PATH proves little (version managers leave shims that only print an error): run it.
found='' without_venv=''
for name in python3.11 python3.12 python3.10 python3 python; do
    # All the places on the PATH, as the first one may be such a shim.
    old_ifs=$IFS
    IFS=:
    for folder in $PATH; do
        IFS=$old_ifs
        candidate=$folder/$name
        [ -x "$candidate" ] || continue
        status=0
        "$candidate" -c "$probe" </dev/null >/dev/null 2>&1 || status=$?
        case $status in
            0) exec "$candidate" tools/dev/setup_env.py ;;
            10)
                version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
                case " $found " in *" $version "*) ;; *) found="$found $version" ;; esac
                ;;
            11) without_venv=${without_venv:-$candidate} ;;
        esac
    done
    IFS=$old_ifs
done

if [ -n "$without_venv" ]; then
    version=$("$without_venv" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "mmkd: $without_venv cannot make environments (no venv or ensurepip):" \
        "install them (Debian, Ubuntu: apt install python$version-venv) and run this again." >&2
elif [ -n "$found" ]; then
    echo "mmkd: Python 3.10, 3.11 or 3.12 is needed, found only$found:" \
        'install one (python.org, conda, pyenv or your package manager) and run this again.' >&2
else
    echo 'mmkd: no Python found on the PATH:' \
        'install Python 3.10, 3.11 or 3.12 and run this again.' >&2
fi
exit 1
