//! Runs [`ringway_engine::fuzzing::http2_text`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringway_engine::fuzzing::http2_text(data));
