//! Tests of the store on a real disk, and of the memory store by the same contract.

mod base;
mod contract;
mod converge;
mod crash;
mod damage;
mod examining;
mod failing;
mod history;
mod images;
mod measure;
mod replacing;
