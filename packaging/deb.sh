#!/bin/sh
# Builds the Debian package, and prints where it is.
#
#   sh packaging/deb.sh [--profile PROFILE] [--no-build]
#
# Needs Rust, Git, dpkg with dpkg-dev, and cargo-deb (cargo install --locked cargo-deb). What cargo-deb does not make is laid
# out in target/deb first: manual pages, completions, units, documents. With --no-build the programs are taken as they are.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"

profile=release
build=yes
while [ $# -gt 0 ]; do
  case $1 in
    --profile) profile=${2:?"deb.sh: --profile needs a profile"}; shift 2 ;;
    --no-build) build=no; shift ;;
    *) echo "usage: sh packaging/deb.sh [--profile PROFILE] [--no-build]" >&2; exit 2 ;;
  esac
done
for program in cargo cargo-deb git dpkg dpkg-shlibdeps; do
  command -v "$program" >/dev/null 2>&1 || { echo "deb.sh: please install $program first" >&2; exit 69; }
done

[ "$build" = no ] || cargo build --locked --profile "$profile" -p heddled -p heddlectl >&2
folder=$profile
[ "$profile" != dev ] || folder=debug
built=${CARGO_TARGET_DIR:-target}/$folder

# As it will lie in the system.
stage=target/deb/root
rm -rf target/deb
share=$stage/usr/share
doc=$share/doc/heddled
units=$stage/usr/lib/systemd/user
mkdir -p "$share/man/man1" "$share/man/man5" "$doc/examples" "$share/bash-completion/completions" \
  "$share/zsh/vendor-completions" "$share/fish/vendor_completions.d"

"$built/heddlectl" -q man "$share/man/man1"
cp packaging/man/heddled.1 "$share/man/man1/"
cp packaging/man/heddled.toml.5 "$share/man/man5/"
"$built/heddlectl" completions bash >"$share/bash-completion/completions/heddlectl"
"$built/heddlectl" completions zsh >"$share/zsh/vendor-completions/_heddlectl"
"$built/heddlectl" completions fish >"$share/fish/vendor_completions.d/heddlectl.fish"
# The units of a user may name a place of the user's own; those of a package name the one that it puts the program in.
for unit in packaging/systemd/heddled.service packaging/systemd/heddled.socket; do
  [ -f "$unit" ] || continue
  mkdir -p "$units"
  sed 's|^ExecStart=[^ ]*heddled|ExecStart=/usr/bin/heddled|' "$unit" >"$units/${unit##*/}"
done
cp README.md ARCHITECTURE.md "$doc/"
cp -R docs "$doc/docs"
[ ! -f packaging/heddled.toml ] || cp packaging/heddled.toml "$doc/examples/"

# One entry, in the form that Debian's tools read; what has changed is in the changelog of the project.
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
seconds=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
day=$(LC_ALL=C date -u -R -d "@$seconds")
cat >target/deb/changelog <<END
heddled ($version-1) unstable; urgency=medium

  * See /usr/share/doc/heddled/NEWS.md.

 -- The heddled authors <heddled@users.noreply.github.com>  $day
END
cp CHANGELOG.md "$doc/NEWS.md"

# What is not to be released need not be small.
fast=
[ "$profile" = release ] || fast=--fast
cargo deb --quiet --locked -p heddled --profile "$profile" --no-build $fast >&2
echo "${CARGO_TARGET_DIR:-target}/debian/heddled_$version-1_$(dpkg --print-architecture).deb"
