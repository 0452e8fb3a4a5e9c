//! The tests that look at pillion from outside, in one program.

mod config;
