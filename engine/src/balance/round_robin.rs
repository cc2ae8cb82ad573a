//! In turn. With equal weights a cursor moves on; with different ones each endpoint gains its weight at every pick
//! and the richest pays for all, so that 5:1:1 gives a a b a c a a rather than a a a a a b c.

use super::choice::Choice;

pub(super) fn pick(choice: &mut Choice<'_>) -> Option<u32> {
    if choice.cumulative.is_empty() { in_turn(choice) } else { smooth(choice) }
}

fn in_turn(choice: &mut Choice<'_>) -> Option<u32> {
    let count = choice.live.len();
    let start = *choice.cursor as usize % count;
    for step in 0..count {
        let place = if start + step < count { start + step } else { start + step - count };
        if choice.will_do(choice.live[place]) {
            *choice.cursor = place as u32 + 1;
            return Some(choice.live[place]);
        }
    }
    None
}

fn smooth(choice: &mut Choice<'_>) -> Option<u32> {
    let mut total = 0;
    let mut richest: Option<(i64, u32)> = None;
    for &slot in choice.live {
        if !choice.will_do(slot) {
            continue;
        }
        let state = &mut choice.states[slot as usize];
        total += i64::from(state.share);
        state.current += i64::from(state.share);
        if richest.is_none_or(|(most, _)| state.current > most) {
            richest = Some((state.current, slot));
        }
    }
    let (_, slot) = richest?;
    choice.states[slot as usize].current -= total;
    Some(slot)
}
