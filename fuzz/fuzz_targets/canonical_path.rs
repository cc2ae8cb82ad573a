//! Runs [`ringway_engine::http1::fuzzing::canonical_path`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringway_engine::http1::fuzzing::canonical_path(data));
