//! Runs [`ringway_engine::fuzzing::path_template`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringway_engine::fuzzing::path_template(data));
