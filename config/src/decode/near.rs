//! "Did you mean": the nearest of what there is.

/// Longer words are not compared.
const COMPARED_BYTES_MAX: usize = 64;
/// Of more candidates only the first are compared.
const CANDIDATES_MAX: usize = 2000;

/// The candidate nearest to `word`, if any is near enough to be a slip of the fingers.
pub fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    if word.is_empty() || word.bytes().all(|b| b.is_ascii_digit()) || word.len() > COMPARED_BYTES_MAX {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let word = plain(word);
    let slips = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .take(CANDIDATES_MAX)
        .filter(|candidate| candidate.len() <= COMPARED_BYTES_MAX)
        .map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= slips && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let fields = ["address", "name", "routes", "merge_slashes"];
        assert_eq!(nearest("adress", fields.into_iter()), Some("address"));
        assert_eq!(nearest("Merge-Slashes", fields.into_iter()), Some("merge_slashes"));
        assert_eq!(nearest("route", fields.into_iter()), Some("routes"));
        assert_eq!(nearest("certificates", fields.into_iter()), None);
        assert_eq!(nearest("x", ["y"].into_iter()), None);
    }
}
