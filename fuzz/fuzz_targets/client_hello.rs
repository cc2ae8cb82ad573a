//! Runs [`ringway_engine::fuzzing::client_hello`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringway_engine::fuzzing::client_hello(data));
