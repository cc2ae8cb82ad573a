//! Runs [`ringway_engine::http1::fuzzing::request_head`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringway_engine::http1::fuzzing::request_head(data));
