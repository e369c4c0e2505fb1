//! What a connection says and how it reads the answers: the only part of the client that differs by contender.

/// One contender's side of a closed loop: request, answer, request, ...
///
/// A cycle is one or more calls; `answer` says where one ends. Every answer is one line.
pub(crate) trait Script {
    /// Appends the next request of the connection.
    fn request(&mut self, connection: usize, out: &mut Vec<u8>);

    /// Takes the answer, which ends with its newline; tells whether a cycle ended. Fails on any answer but success.
    fn answer(&mut self, connection: usize, line: &[u8]) -> anyhow::Result<bool>;

    /// Whether the connection is to begin another cycle.
    fn has_more(&self, connection: usize) -> bool {
        let _ = connection;
        true
    }
}

/// Where `needle` begins in `line`.
pub(crate) fn find(line: &[u8], needle: &[u8]) -> Option<usize> {
    let (first, rest) = needle.split_first()?;
    let mut from = 0;
    loop {
        let at = from + line.get(from..)?.iter().position(|byte| byte == first)?;
        if line[at + 1..].starts_with(rest) {
            return Some(at);
        }
        from = at + 1;
    }
}

/// What stands between `before` and the next quotation mark.
pub(crate) fn text_after<'a>(line: &'a [u8], before: &[u8]) -> Option<&'a [u8]> {
    let rest = &line[find(line, before)? + before.len()..];
    rest.split(|&byte| byte == b'"').next()
}
