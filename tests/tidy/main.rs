//! Rules of the code base that a test can check.

#[cfg(test)]
mod forgotten;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod tree;
