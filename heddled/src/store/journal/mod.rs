//! The journal: preallocated segments, overwritten in turn, one frame for each batch of entries.
//!
//! A segment is written full of zeros and synced when it is made, so that a frame changes no metadata of the file and one
//! `fdatasync` of what was overwritten makes it durable. Each use of a segment has an epoch of its own, drawn at random,
//! which seeds every checksum: what an earlier use left behind is not taken for a frame of this one.
//!
//! Each frame is on the disk before the next one is written. So an unreadable frame that nothing follows was never
//! acknowledged, and one that a later frame follows was: that is damage.

pub(super) mod frame;
pub(super) mod recover;
pub(super) mod segment;
