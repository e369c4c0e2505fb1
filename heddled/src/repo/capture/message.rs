//! The message of a capture's commit, with its trailers.

/// The message as Git stores it: without what is blank around it, the trailers as its last paragraph.
pub(super) fn compose(message: &str, trailers: &[(&str, String)]) -> String {
    let mut text: String = message.replace('\0', "").lines().map(|line| format!("{}\n", line.trim_end())).collect();
    text.truncate(text.trim_end().len());
    let text = text.trim_start_matches('\n');
    if trailers.is_empty() {
        return format!("{text}\n");
    }
    // One paragraph with those that the caller wrote itself, or Git would read only the last one.
    let gap = if ends_with_trailers(text) { "\n" } else { "\n\n" };
    let lines: String = trailers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    format!("{text}{gap}{lines}")
}

fn ends_with_trailers(text: &str) -> bool {
    let is_trailer = |line: &str| {
        let name = line.split_once(": ").map(|(name, _)| name).unwrap_or_default();
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    // The first paragraph is the subject, whatever it looks like.
    text.rsplit_once("\n\n").is_some_and(|(_, last)| last.lines().all(is_trailer))
}
