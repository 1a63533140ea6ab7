//! Measuring: [`send`] is the send rate, [`machine`] where it was measured, [`cpu`] what each process spent on it.

pub mod cpu;
pub mod machine;
pub mod send;
