#!/bin/sh
# Installs heddled and heddlectl with cargo, then shows on a repository of yours what they do.
#
#   sh packaging/install.sh [REPOSITORY]
#
# Needs Rust and Git. Installs into cargo's own directory, and changes nothing in the repository.
#
# To uninstall: heddlectl daemon stop; cargo uninstall heddled heddlectl; then remove ~/.local/state/heddle, the registry, and
# `heddle-registry` from the Git directory of each repository that agents worked in.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
repository=${1:-.}

for program in cargo git; do
  command -v "$program" >/dev/null 2>&1 || { echo "install.sh: please install $program first" >&2; exit 69; }
done
git -C "$repository" rev-parse --git-dir >/dev/null 2>&1 || {
  echo "install.sh: there is no Git repository at $repository; name one: sh packaging/install.sh REPOSITORY" >&2
  exit 66
}

echo "Building heddled and heddlectl in release mode and installing them with cargo; on two cores that takes about" \
  "five minutes. Then they are shown on a throw-away clone of the repository." >&2
# One target directory for both, so that what they share is built once.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$here/target}
export CARGO_TARGET_DIR
cargo install --locked --path "$here/heddled"
cargo install --locked --path "$here/heddlectl"

bin=${CARGO_INSTALL_ROOT:-${CARGO_HOME:-$HOME/.cargo}}/bin
case ":$PATH:" in
  *":$bin:"*) ;;
  *) echo "note: add $bin to your PATH" >&2 ;;
esac
{
  echo "note: completions: heddlectl completions --help; manual pages: heddlectl man ~/.local/share/man/man1"
  echo "note: to uninstall: heddlectl daemon stop; cargo uninstall heddled heddlectl"
} >&2
exec "$bin/heddlectl" --repo "$repository" demo
