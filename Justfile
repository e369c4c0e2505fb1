# What contributors run; `just check` is what lands.

default:
    @just --list

check:
    .ci/run
    cargo deny check advisories

test *args:
    cargo test --workspace {{args}}

# Write proto-schema/schema/ and the generated part of packaging/clients/ from the types.
schema:
    cargo run -p proto-schema --bin generate

# Measure against Redis, Git and the floors; see README.md, "How fast".
bench *args:
    cargo build --release --workspace
    cargo bench -p heddled --bench load -- {{args}}

# Write docs/cli.md from what --help says.
reference:
    cargo build --workspace
    UPDATE_REFERENCE=1 cargo test -p heddled --test packages reference

# Build the Debian package of what is checked out.
deb *args:
    sh packaging/deb.sh {{args}}
