#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lithify_fuzz::meta_cache(data));
