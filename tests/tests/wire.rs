//! The wire texts, each file a test. `RINGWAY_TEST_CASE=words` plays only cases with these words in their title.

use ringway_tests::play::play;

#[test]
fn framing_that_could_smuggle_is_refused() {
    play(include_str!("../wire/framing.txt"));
}

#[test]
fn heads_are_read_strictly() {
    play(include_str!("../wire/syntax.txt"));
}

#[test]
fn host_and_target_agree_or_are_refused() {
    play(include_str!("../wire/host.txt"));
}

#[test]
fn bad_chunks_never_look_whole() {
    play(include_str!("../wire/chunks.txt"));
}

#[test]
fn limits_have_exact_answers() {
    play(include_str!("../wire/limits.txt"));
}

#[test]
fn fields_between_neighbours_stay_there() {
    play(include_str!("../wire/fields.txt"));
}

#[test]
fn forwarding_fields_are_ours_or_from_trusted_hops() {
    play(include_str!("../wire/forwarded.txt"));
}

#[test]
fn one_canonical_path_is_matched_and_forwarded() {
    play(include_str!("../wire/paths.txt"));
}

#[test]
fn the_most_specific_route_answers() {
    play(include_str!("../wire/routing.txt"));
}

#[test]
fn proxy_protocol_is_believed_from_trusted_peers_only() {
    play(include_str!("../wire/proxy_protocol.txt"));
}

#[test]
fn responses_pass_clean_or_not_at_all() {
    play(include_str!("../wire/responses.txt"));
}
