//! The texts of the service's files: those of `packaging/`, with this machine's paths in them.

use std::path::Path;

/// The first line of every file that we write: what does not begin so is not ours to change.
pub(crate) const MARK: &str = "heddlectl wrote this file; `heddlectl service uninstall` removes it.";

const SERVICE: &str = include_str!("../../../packaging/systemd/heddled.service");
const SOCKET: &str = include_str!("../../../packaging/systemd/heddled.socket");
const PLIST: &str = include_str!("../../../packaging/launchd/io.github.heddled.heddled.plist");

/// The line of the packaged unit that names the program.
const PACKAGED_PROGRAM: &str = "ExecStart=/usr/bin/heddled\n";
/// The line of the packaged socket that names the place.
const PACKAGED_SOCKET: &str = "ListenStream=%t/heddle/heddled.sock\n";

/// `heddled.service`, for this program, with variables that the daemon is to have.
pub(crate) fn service(program: &Path, variables: &[(&str, String)]) -> String {
    let program = format!("ExecStart={}\n", quoted(&program.display().to_string()));
    let variable = |(name, value): &(&str, String)| format!("Environment={}\n", quoted(&format!("{name}={value}")));
    let lines: String = std::iter::once(program).chain(variables.iter().map(variable)).collect();
    format!("# {MARK}\n{}", SERVICE.replacen(PACKAGED_PROGRAM, &lines, 1))
}

/// `heddled.socket`, for this place; none for the usual one.
pub(crate) fn socket(place: Option<&Path>) -> String {
    let line = place.map(|place| format!("ListenStream={}\n", escaped(&place.display().to_string())));
    format!("# {MARK}\n{}", SOCKET.replacen(PACKAGED_SOCKET, line.as_deref().unwrap_or(PACKAGED_SOCKET), 1))
}

/// The property list of launchd. Its mark is a comment after the declaration, which must come first.
pub(crate) fn plist(program: &Path, socket: &Path, state: &Path) -> String {
    let text = |path: &Path| xml(&path.display().to_string());
    PLIST
        .replace("@PROGRAM@", &text(program))
        .replace("@SOCKET@", &text(socket))
        .replace("@STATE@", &text(state))
        .replacen("<plist ", &format!("<!-- {MARK} -->\n<plist "), 1)
}

/// Whether we wrote a file with this content.
pub(crate) fn is_ours(content: &str) -> bool {
    content.lines().take(5).any(|line| line.contains(MARK))
}

/// One word of a command line or an assignment in a unit: quoted, and nothing in it is a variable or a specifier.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-=:+,@".contains(letter);
    if word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("\"{}\"", escaped(word).replace('\\', "\\\\").replace('"', "\\\"").replace('$', "$$"))
}

/// A value in a unit that is a whole line: only specifiers mean something in it.
fn escaped(value: &str) -> String {
    value.replace('%', "%%")
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_replaced_is_there() {
        assert_eq!(SERVICE.matches(PACKAGED_PROGRAM).count(), 1);
        assert_eq!(SOCKET.matches(PACKAGED_SOCKET).count(), 1);
        for name in ["@PROGRAM@", "@SOCKET@", "@STATE@"] {
            assert!(PLIST.contains(name), "{name}");
        }
    }

    #[test]
    fn a_unit_has_the_paths_of_this_machine() {
        let text = service(Path::new("/o/bin/heddled"), &[("HEDDLE_STATE_DIR", "/s".to_owned())]);
        assert!(text.contains("\nExecStart=/o/bin/heddled\nEnvironment=HEDDLE_STATE_DIR=/s\n"), "{text}");
        assert!(is_ours(&text) && !is_ours(SERVICE));
        assert!(socket(None).contains("\nListenStream=%t/heddle/heddled.sock\n"));
        assert!(socket(Some(Path::new("/a b/50%/s"))).contains("\nListenStream=/a b/50%%/s\n"));
    }

    #[test]
    fn nothing_in_a_path_means_anything_to_systemd() {
        assert_eq!(quoted("/a b/h"), "\"/a b/h\"");
        assert_eq!(quoted(r#"/a"$x%t\h"#), r#""/a\"$$x%%t\\h""#);
    }

    #[test]
    fn a_property_list_is_whole() {
        let text = plist(Path::new("/o/a&b/heddled"), Path::new("/s/run/heddled.sock"), Path::new("/s"));
        assert!(text.contains("<string>/o/a&amp;b/heddled</string>") && !text.contains('@'), "{text}");
        assert!(is_ours(&text) && text.starts_with("<?xml"), "{text}");
    }
}
