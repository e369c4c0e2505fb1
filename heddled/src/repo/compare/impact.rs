//! What kinds of files a thread touches, told by their paths alone.
//!
//! A path belongs to every category that one of its patterns in [`PATTERNS`] names: a lock file that CI reads is in two. A
//! pattern is a file's name, with one `*` for anything at most; with a slash at its end it is the name of a folder, anywhere
//! above the file. Upper and lower case are the same. A refactor of the whole repository is told by the number of folders
//! ([`MANY_FOLDERS`]) instead.
//!
//! The categories are for people who decide what to look at first. Nothing is refused by them.

use std::collections::BTreeSet;

use proto_schema::ImpactCategory;

/// In how many folders files change when it counts as a refactor of the whole repository.
const MANY_FOLDERS: usize = 20;

/// Which names tell which category.
const PATTERNS: &[(ImpactCategory, &str)] = &[
    (
        ImpactCategory::DependencyGraph,
        "cargo.toml cargo.lock package.json package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml \
         pnpm-workspace.yaml bun.lock bun.lockb deno.json deno.jsonc deno.lock go.mod go.sum go.work go.work.sum \
         requirements*.txt constraints*.txt pyproject.toml poetry.lock pdm.lock uv.lock pipfile pipfile.lock setup.py \
         setup.cfg environment.yml conda-lock.yml gemfile gemfile.lock *.gemspec composer.json composer.lock pom.xml \
         build.gradle build.gradle.kts settings.gradle settings.gradle.kts gradle.lockfile libs.versions.toml *.csproj \
         *.fsproj *.vbproj packages.config packages.lock.json directory.packages.props paket.dependencies paket.lock \
         package.swift package.resolved podfile podfile.lock cartfile cartfile.resolved pubspec.yaml pubspec.lock mix.exs \
         mix.lock rebar.config rebar.lock *.cabal stack.yaml stack.yaml.lock *.opam dune-project flake.nix flake.lock \
         module.bazel module.bazel.lock workspace workspace.bazel conanfile.txt conanfile.py conan.lock vcpkg.json \
         build.sbt project.clj deps.edn build.zig.zon chart.lock .terraform.lock.hcl .gitmodules",
    ),
    (
        ImpactCategory::BuildRuntimeConfig,
        ".github/ .circleci/ .buildkite/ .gitlab/ .ci/ .devcontainer/ .cargo/ .husky/ .gitlab-ci.yml .travis.yml \
         .drone.yml .woodpecker.yml .pre-commit-config.yaml jenkinsfile* azure-pipelines*.yml appveyor.yml \
         bitbucket-pipelines.yml cloudbuild.yaml dockerfile* *.dockerfile containerfile* docker-compose* compose.yml \
         compose.yaml .dockerignore docker-bake.* makefile gnumakefile *.mk cmakelists.txt cmakepresets.json *.cmake \
         meson.build meson_options.txt meson.options build build.bazel *.bzl .bazelrc justfile .justfile taskfile.yml \
         taskfile.yaml rakefile build.rs build.sh build.zig build.gradle build.gradle.kts gradle.properties build.xml \
         configure.ac configure.in vagrantfile procfile tox.ini noxfile.py webpack.config.* vite.config.* rollup.config.* \
         esbuild.config.* babel.config.* next.config.* tsconfig*.json rust-toolchain rust-toolchain.toml .nvmrc \
         .node-version .python-version .ruby-version .tool-versions mise.toml .env .env.* *.service *.tf *.tfvars \
         skaffold.yaml tiltfile helmfile.yaml chart.yaml fly.toml vercel.json netlify.toml .gitattributes",
    ),
    (
        ImpactCategory::GeneratedOutputs,
        "dist/ generated/ __generated__/ __snapshots__/ __pycache__/ node_modules/ *.min.js *.min.css *.js.map *.css.map \
         *.pb.go *.pb.h *.pb.cc *.pb.swift *_pb2.py *_pb2.pyi *_pb2_grpc.py *_pb.js *_pb.ts *_grpc.pb.go *_generated.go \
         zz_generated* *.gen.go *.gen.ts *.gen.rs *.generated.cs *.generated.ts *.generated.js *.generated.rs *.g.dart *.g.cs *.freezed.dart *.designer.cs *.snap *.pyc \
         *.class *.o",
    ),
    (
        ImpactCategory::PublicApiSurface,
        "include/ api/ *.proto *.graphql *.graphqls *.gql *.thrift *.avsc *.avdl *.wit *.idl *.wsdl *.xsd *.fbs *.capnp \
         *.raml openapi*.yaml openapi*.yml openapi*.json swagger*.yaml swagger*.yml swagger*.json asyncapi*.yaml \
         asyncapi*.yml asyncapi*.json openrpc*.json lib.rs *.d.ts *.pyi *.mli __init__.py module-info.java \
         publicapi.*.txt *.def",
    ),
];

/// The categories of paths that are told one by one.
#[derive(Debug, Default)]
pub(super) struct Impact {
    found: BTreeSet<ImpactCategory>,
    /// The folders of the files, until there are enough.
    folders: BTreeSet<Vec<u8>>,
}

impl Impact {
    /// Takes a path into account.
    pub(super) fn add(&mut self, path: &[u8]) {
        let path = path.to_ascii_lowercase();
        let (folder, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&[][..], &path[..]),
        };
        for (category, patterns) in PATTERNS {
            if !self.found.contains(category) && patterns.split_ascii_whitespace().any(|it| fits(it, folder, name)) {
                self.found.insert(*category);
            }
        }
        if self.folders.len() < MANY_FOLDERS && !self.folders.contains(folder) {
            self.folders.insert(folder.to_owned());
        }
        if self.folders.len() == MANY_FOLDERS {
            self.found.insert(ImpactCategory::RepoWideRefactor);
        }
    }

    /// The categories, in order.
    pub(super) fn categories(self) -> Vec<ImpactCategory> {
        self.found.into_iter().collect()
    }
}

fn fits(pattern: &str, folder: &[u8], name: &[u8]) -> bool {
    if let Some(wanted) = pattern.strip_suffix('/') {
        return folder.split(|byte| *byte == b'/').any(|part| part == wanted.as_bytes());
    }
    match pattern.split_once('*') {
        // What is around the star must not overlap, and the star stands for something.
        Some((first, last)) => {
            name.len() >= first.len() + last.len()
                && name.starts_with(first.as_bytes())
                && name.ends_with(last.as_bytes())
        }
        None => name == pattern.as_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto_schema::ImpactCategory::{
        BuildRuntimeConfig, DependencyGraph, GeneratedOutputs, PublicApiSurface, RepoWideRefactor,
    };

    fn of(paths: &[&str]) -> Vec<ImpactCategory> {
        let mut impact = Impact::default();
        paths.iter().for_each(|path| impact.add(path.as_bytes()));
        impact.categories()
    }

    #[test]
    fn a_path_is_in_the_categories_of_its_name_and_folders() {
        let cases: &[(&str, &[ImpactCategory])] = &[
            ("Cargo.lock", &[DependencyGraph]),
            ("crates/a/Cargo.toml", &[DependencyGraph]),
            ("requirements.txt", &[DependencyGraph]),
            ("deploy/requirements-dev.txt", &[DependencyGraph]),
            ("a/b.csproj", &[DependencyGraph]),
            ("build.gradle", &[DependencyGraph, BuildRuntimeConfig]),
            (".github/workflows/ci.yml", &[BuildRuntimeConfig]),
            ("Dockerfile", &[BuildRuntimeConfig]),
            ("docker/Dockerfile.alpine", &[BuildRuntimeConfig]),
            ("a/Makefile", &[BuildRuntimeConfig]),
            ("build.rs", &[BuildRuntimeConfig]),
            ("web/dist/app.js", &[GeneratedOutputs]),
            ("a/b_pb2.py", &[GeneratedOutputs]),
            ("app.min.js", &[GeneratedOutputs]),
            ("a/api.proto", &[PublicApiSurface]),
            ("include/a.h", &[PublicApiSurface]),
            ("src/lib.rs", &[PublicApiSurface]),
            ("api/dist/openapi.v1.yaml", &[GeneratedOutputs, PublicApiSurface]),
        ];
        for (path, categories) in cases {
            assert_eq!(of(&[path]), *categories, "{path}");
        }
    }

    #[test]
    fn a_name_that_only_looks_alike_is_in_none() {
        for path in [
            "src/main.rs",
            "my-cargo.toml",
            "requirements.md",
            "Dockerfil",
            "dist",
            "api",
            "distribution/a",
            "a.proton",
        ] {
            assert_eq!(of(&[path]), [], "{path}");
        }
        assert!(!fits("ab*ba", b"", b"aba"), "what is around the star does not overlap");
    }

    #[test]
    fn what_changes_in_many_folders_is_a_refactor_of_the_whole() {
        let paths: Vec<String> = (0..MANY_FOLDERS).map(|number| format!("a/{number}/file")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        assert_eq!(of(&paths), [RepoWideRefactor]);
        assert_eq!(of(&paths[1..]), []);
        let many: Vec<String> = (0..1000).map(|number| format!("a/{number}")).collect();
        assert_eq!(of(&many.iter().map(String::as_str).collect::<Vec<_>>()), [], "many files of one folder are none");
    }

    #[test]
    fn patterns_are_in_lower_case_and_have_one_star_at_most() {
        for pattern in PATTERNS.iter().flat_map(|(_, patterns)| patterns.split_ascii_whitespace()) {
            assert_eq!(pattern, pattern.to_ascii_lowercase());
            assert!(pattern.matches('*').count() <= 1, "{pattern}");
            assert!(!pattern.trim_end_matches('/').contains('/'), "{pattern}");
        }
    }
}
