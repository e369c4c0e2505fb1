//! Finds what the clients run with, and builds the TypeScript one.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// One of the client libraries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Language {
    Python,
    TypeScript,
}

/// Makes a test of each function for both languages.
macro_rules! in_both_languages {
    ($($name:ident),+ $(,)?) => {
        mod python {
            $(#[test] fn $name() { super::$name(crate::tools::Language::Python); })+
        }
        mod typescript {
            $(#[test] fn $name() { super::$name(crate::tools::Language::TypeScript); })+
        }
    };
}
pub(crate) use in_both_languages;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Where the Python client is.
pub(crate) fn python_package() -> PathBuf {
    root().join("packaging/clients/python")
}

/// Where `packaging/clients/prepare` installs, and where everything is built.
pub(crate) fn place() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("clients")
}

/// Says that something is lacking, or fails where nothing may be.
pub(crate) fn lacking(what: &str) {
    let required = std::env::var_os("HEDDLE_REQUIRE_CLIENT_TESTS").is_some_and(|value| value == "1");
    assert!(!required, "clients: {what}, and is required");
    // Not `println!`: what a passing test prints is not shown.
    writeln!(std::io::stdout(), "clients: not run here: {what}; see packaging/clients/prepare").unwrap();
}

/// Runs a tool and fails unless it succeeds.
#[track_caller]
pub(crate) fn succeed(command: &mut Command) -> String {
    let ran = command.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&ran.stderr));
    said
}

fn is_there(program: &Path, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|ran| ran.status.success())
}

/// Python, if there is one.
pub(crate) fn python() -> Option<PathBuf> {
    let found = PathBuf::from("python3");
    if is_there(&found, &["-c", "import sys; sys.exit(sys.version_info < (3, 9))"]) {
        return Some(found);
    }
    lacking("python3 of 3.9 or newer is missing");
    None
}

/// The Python of the virtual environment, with the module, if it is installed.
pub(crate) fn python_with(module: &str) -> Option<PathBuf> {
    let found = place().join("venv/bin/python");
    if is_there(&found, &["-c", &format!("import {module}")]) {
        return Some(found);
    }
    lacking(&format!("Python's {module} is not installed"));
    None
}

/// Node, or what comes with it, if it is new enough.
pub(crate) fn node(program: &str) -> Option<Command> {
    let new_enough = "const [major, minor] = process.versions.node.split('.').map(Number);
        process.exit(major > 18 || (major === 18 && minor >= 18) ? 0 : 1)";
    if is_there(Path::new("node"), &["-e", new_enough]) {
        return Some(Command::new(program));
    }
    let installed = place().join("node");
    if is_there(&installed.join("node"), &["-e", new_enough]) {
        let mut command = Command::new(installed.join(program));
        // npm looks for Node there.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", installed.display()));
        return Some(command);
    }
    lacking("Node of 18.18 or newer is missing");
    None
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_name().to_str() {
            Some("node_modules" | "dist") => {}
            _ if entry.path().is_dir() => copy(&entry.path(), &to),
            _ => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// The TypeScript package, type-checked and compiled: a copy of it below the target directory, once for all tests.
pub(crate) fn typescript_package() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let mut node = node("node")?;
        let package = place().join("typescript");
        let compiler = package.join("node_modules/typescript/bin/tsc");
        if !compiler.exists() {
            lacking("the TypeScript compiler is not installed");
            return None;
        }
        for old in ["src", "examples", "tests", "dist"] {
            std::fs::remove_dir_all(package.join(old)).ok();
        }
        copy(&root().join("packaging/clients/typescript"), &package);
        std::fs::write(package.join("examples/readme.ts"), block(&package, "ts")).unwrap();
        succeed(node.arg(compiler).args(["-p", "."]).current_dir(&package));
        Some(package)
    });
    if built.is_none() {
        lacking("the TypeScript client is not built");
    }
    built.as_deref()
}

/// The first code of this language in a package's README.
pub(crate) fn block(package: &Path, language: &str) -> String {
    let readme = std::fs::read_to_string(package.join("README.md")).unwrap();
    let (_, rest) = readme.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

impl Language {
    /// The README's code, about this repository, as a program in this directory.
    pub(crate) fn readme(self, repo: &str, directory: &Path) -> Option<Command> {
        let (code, path) = match self {
            Self::Python => (block(&python_package(), "python"), directory.join("readme.py")),
            Self::TypeScript => {
                let built = typescript_package()?.join("dist/examples");
                // Beside the compiled one, for that is where it finds the package.
                let path = built.join(format!("readme-{}.js", std::process::id()));
                (std::fs::read_to_string(built.join("readme.js")).unwrap(), path)
            }
        };
        assert!(code.contains("/path/to/your/repository"));
        std::fs::write(&path, code.replace("/path/to/your/repository", repo)).unwrap();
        self.run(&path)
    }

    /// A command that runs one of the package's programs.
    pub(crate) fn command(self, program: &str) -> Option<Command> {
        match self {
            Self::Python => self.run(&python_package().join(program).with_extension("py")),
            Self::TypeScript => self.run(&typescript_package()?.join("dist").join(program).with_extension("js")),
        }
    }

    /// Runs a file with the package at hand, and with nothing of this environment but where programs are.
    fn run(self, file: &Path) -> Option<Command> {
        let mut command = match self {
            Self::Python => Command::new(python()?),
            Self::TypeScript => node("node")?,
        };
        command.arg(file).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        if self == Self::Python {
            command.env("PYTHONPATH", python_package().join("src")).env("PYTHONDONTWRITEBYTECODE", "1");
        }
        Some(command)
    }
}
