//! The client against small hosts that behave, and that do not.

mod calls;
mod canary;
mod dialling;
mod encryption;
mod repos;
mod restraint;
