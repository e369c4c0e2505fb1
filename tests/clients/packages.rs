//! The packages are typed to the last word, carry the workspace's version, and install.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tools::{block, lacking, node, place, python_package, python_with, succeed, typescript_package};

/// An empty directory below the target directory.
fn empty(name: &str) -> PathBuf {
    let path = place().join(name);
    std::fs::remove_dir_all(&path).ok();
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// The one file in a directory that ends like this.
fn only(directory: &Path, end: &str) -> PathBuf {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<_> = files.filter(|path| path.to_str().unwrap().ends_with(end)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn the_python_client_is_typed_to_the_last_word() {
    let Some(python) = python_with("mypy") else { return };
    let readme = empty("readme").join("readme.py");
    std::fs::write(&readme, block(&python_package(), "python")).unwrap();
    let mut mypy = Command::new(python);
    mypy.args(["-m", "mypy", "--strict", "--cache-dir"])
        .arg(place().join("mypy"))
        .args(["src", "examples", "tests"])
        .arg(readme);
    let said = succeed(mypy.current_dir(python_package()));
    assert!(said.contains("no issues found"), "{said}");
}

#[test]
fn the_typescript_client_is_typed_to_the_last_word() {
    let Some(package) = typescript_package() else { return };
    assert!(std::fs::read_to_string(package.join("tsconfig.json")).unwrap().contains("\"strict\": true"));
    assert!(package.join("dist/src/index.d.ts").exists(), "it was compiled, which checks it");
}

#[test]
fn the_python_package_installs() {
    let Some(python) = python_with("flit_core") else { return };
    // Built from a copy, for building leaves files behind.
    let wheels = empty("wheel");
    let mut build = Command::new(&python);
    build.args(["-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]);
    succeed(build.arg("--no-index").arg("--wheel-dir").arg(&wheels).arg(python_package()));
    let installed = empty("installed");
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]);
    succeed(install.arg("--target").arg(&installed).arg(only(&wheels, ".whl")));
    assert!(installed.join("heddle/py.typed").exists(), "its types are for its users, too");
    let told = "import heddle, importlib.metadata as m; print(heddle.__file__, m.version('heddled-client'))";
    let said = succeed(
        Command::new(&python)
            .args(["-I", "-c", &format!("import sys; sys.path.insert(0, sys.argv[1]); {told}")])
            .arg(&installed),
    );
    assert_eq!(
        said.trim(),
        format!("{} {}", installed.join("heddle/__init__.py").display(), env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn the_typescript_package_installs() {
    let Some(package) = typescript_package() else { return };
    let (Some(mut pack), Some(mut install), Some(mut run)) = (node("npm"), node("npm"), node("node")) else { return };
    if node("npm").is_some_and(|mut npm| npm.arg("--version").output().is_err()) {
        return lacking("npm is missing");
    }
    let packed = empty("packed");
    pack.args(["pack", "--ignore-scripts", "--loglevel", "error", "--pack-destination"]);
    succeed(pack.arg(&packed).current_dir(package));
    let user = empty("user");
    std::fs::write(user.join("package.json"), "{\"private\": true, \"type\": \"module\"}").unwrap();
    install.args(["install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]);
    succeed(install.arg(only(&packed, ".tgz")).current_dir(&user));
    let program = "import { Client, VERSION } from '@heddled/client'; console.log(typeof Client.connect, VERSION)";
    let said = succeed(run.args(["--input-type=module", "-e", program]).current_dir(&user));
    assert_eq!(said.trim(), format!("function {}", env!("CARGO_PKG_VERSION")));
    assert!(user.join("node_modules/@heddled/client/dist/src/index.d.ts").exists(), "its types are for its users, too");
    assert!(!user.join("node_modules/@heddled/client/dist/tests").exists(), "its tests are not");
}

#[test]
fn the_clients_have_the_workspace_s_version() {
    let version = env!("CARGO_PKG_VERSION");
    let clients = python_package().join("..");
    let read = |path: &str| std::fs::read_to_string(clients.join(path)).unwrap();
    assert!(read("python/pyproject.toml").contains(&format!("\nversion = \"{version}\"\n")));
    for path in ["typescript/package.json", "typescript/package-lock.json"] {
        let manifest: serde_json::Value = serde_json::from_str(&read(path)).unwrap();
        assert_eq!(manifest["version"], version, "{path}");
    }
}
