//! Tests of the store on a real disk, and of the memory store by the same contract.

mod base;
mod contract;
mod converge;
mod crash;
mod damage;
mod failing;
mod history;
mod measure;
