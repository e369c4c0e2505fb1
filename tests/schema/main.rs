//! The committed schemas are what the types say, and say what they should.

#[cfg(test)]
mod drift;
