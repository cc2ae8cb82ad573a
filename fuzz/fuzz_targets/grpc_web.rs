//! Runs [`ringway_engine::fuzzing::grpc_web`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringway_engine::fuzzing::grpc_web(data));
