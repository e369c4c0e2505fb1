//! The command line's own manners: what can be seen without a daemon.

#[cfg(test)]
mod help;
