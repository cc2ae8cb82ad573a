//! Runs [`ringway_engine::http1::fuzzing::chunked`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringway_engine::http1::fuzzing::chunked(data));
