//! Runs [`ringway_engine::fuzzing::proxy_protocol`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringway_engine::fuzzing::proxy_protocol(data));
