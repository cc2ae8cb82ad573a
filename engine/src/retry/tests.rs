use super::*;

fn plan() -> RetryPlan {
    let mut when = Conditions { connect: true, reset: true, timeout: true, ..Conditions::default() };
    when.add_status(503);
    when.add_grpc(14);
    RetryPlan {
        attempts: 2,
        when,
        per_try_ms: None,
        backoff_ms: 25,
        backoff_max_ms: 250,
        buffer_bytes: 64 << 10,
        unsafe_too: false,
    }
}

const ALL: [Cause; 8] = [
    Cause::Refused,
    Cause::Connect,
    Cause::Stale,
    Cause::Unprocessed,
    Cause::Reset,
    Cause::Timeout,
    Cause::Status(503),
    Cause::Grpc(14),
];

const GET: Facts = Facts { is_idempotent: true, is_replayable: true, hop_attempt: 1 };
const POST: Facts = Facts { is_idempotent: false, ..GET };

fn first(plan: Option<&RetryPlan>, cause: Cause, facts: Facts) -> Result<Again, Option<Refused>> {
    judge(plan, SoFar::default(), cause, facts)
}

#[test]
fn without_a_plan_only_what_is_known_to_be_safe_is_sent_again_and_once() {
    for cause in ALL {
        let free = matches!(cause, Cause::Refused | Cause::Stale | Cause::Unprocessed);
        let judged = first(None, cause, GET);
        assert_eq!(judged.is_ok(), free, "{cause:?}");
        if let Ok(again) = judged {
            assert!(!again.pays && !again.waits, "{cause:?}");
            assert_eq!(again.elsewhere_only, cause == Cause::Refused);
        }
        let twice = SoFar { tries: 1, elsewhere: true, fresh: true };
        assert_eq!(judge(None, twice, cause, GET), Err(None), "{cause:?}");
    }
}

#[test]
fn what_is_not_idempotent_is_sent_again_only_where_nobody_worked_on_it_or_its_code_is_listed() {
    for cause in ALL {
        let may = matches!(cause, Cause::Refused | Cause::Connect | Cause::Unprocessed | Cause::Grpc(_));
        let judged = first(Some(&plan()), cause, POST);
        assert_eq!(judged.is_ok(), may, "{cause:?}");
        assert!(may || judged == Err(Some(Refused::Unsafe)));
        let unsafe_too = RetryPlan { unsafe_too: true, ..plan() };
        assert!(first(Some(&unsafe_too), cause, POST).is_ok(), "{cause:?}");
    }
}

#[test]
fn a_body_that_has_gone_by_ends_it() {
    for cause in ALL {
        let gone = Facts { is_replayable: false, ..GET };
        assert_eq!(first(Some(&plan()), cause, gone), Err(Some(Refused::Body)), "{cause:?}");
    }
}

#[test]
fn tries_end_with_those_the_route_allows() {
    for cause in ALL {
        let so_far = |tries| SoFar { tries, elsewhere: true, fresh: true };
        assert!(judge(Some(&plan()), so_far(1), cause, GET).is_ok(), "{cause:?}");
        let third = judge(Some(&plan()), so_far(2), cause, GET);
        assert_eq!(third, Err(Some(Refused::Attempts)), "{cause:?}");
    }
}

#[test]
fn behind_a_hop_that_retries_only_what_nobody_worked_on_is_sent_again() {
    for cause in ALL {
        let second = Facts { hop_attempt: 2, ..GET };
        let so_far = SoFar { fresh: true, ..SoFar::default() };
        let judged = judge(Some(&plan()), so_far, cause, second);
        assert_eq!(judged.is_ok(), cause.is_untouched(), "{cause:?}");
        assert!(judged.is_ok() || judged == Err(Some(Refused::Hop)));
    }
}

#[test]
fn whatever_was_worked_on_pays_and_waits() {
    for cause in ALL {
        let so_far = SoFar { fresh: true, ..SoFar::default() };
        let again = judge(Some(&plan()), so_far, cause, GET).unwrap();
        assert_eq!(
            (again.pays, again.waits),
            (cause != Cause::Refused, cause != Cause::Refused),
            "{cause:?}"
        );
    }
}

#[test]
fn conditions_are_told_in_the_words_in_which_they_are_written() {
    let mut when = plan().when;
    assert_eq!(when.words(), ["connect", "reset", "timeout", "503", "grpc:unavailable"]);
    (500..600).for_each(|status| when.add_status(status));
    when.add_status(429);
    assert_eq!(when.words(), ["connect", "reset", "timeout", "5xx", "429", "grpc:unavailable"]);
    assert!(when.has_status(599) && !when.has_status(600) && !when.has_status(499) && !when.has_status(200));
}
