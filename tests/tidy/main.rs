//! Rules of the code base that a test can check: STYLE.md section 4 and 8.

#[cfg(test)]
mod forgotten;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod tree;
