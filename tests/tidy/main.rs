//! Rules of the code base that a test can check.

#[cfg(test)]
mod circles;
#[cfg(test)]
mod forgotten;
#[cfg(test)]
mod modules;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod tree;
