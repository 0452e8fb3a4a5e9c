//! The known word that is nearest to a misspelt one.

/// The best of `known` for `word`, if one is near enough to be meant. Case, `-`, `_` and `.` count for nothing.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = plain(word);
    let most = match word.len() {
        0..=4 => 1,
        5..=8 => 2,
        _ => 3,
    };
    known
        .into_iter()
        .map(|candidate| (distance(&word, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn plain(word: &str) -> Vec<char> {
    word.chars().filter(|c| !matches!(c, '-' | '_' | '.')).map(|c| c.to_ascii_lowercase()).collect()
}

/// The steps between two words. A word that begins with the other one, as `warning` with `warn`, is two away at most.
fn distance(a: &[char], b: &[char]) -> usize {
    let longer_form = a.len().min(b.len()) >= 3 && (a.starts_with(b) || b.starts_with(a));
    if longer_form { edits(a, b).min(2) } else { edits(a, b) }
}

/// How many letters must be inserted, removed, replaced or swapped with their neighbour to make `b` from `a`.
fn edits(a: &[char], b: &[char]) -> usize {
    let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX - 1);
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut last = None;
    for (i, letter) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        let mut left_letter = None;
        for (j, other) in b.iter().enumerate() {
            let replaced = at(&above, j) + usize::from(letter != other);
            let mut best = replaced.min(at(&above, j + 1) + 1).min(at(&row, j) + 1);
            if last == Some(other) && left_letter == Some(letter) && j > 0 {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
            left_letter = Some(other);
        }
        before = std::mem::replace(&mut above, row);
        last = Some(letter);
    }
    at(&above, b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_distance(a: &str, b: &str, expected: usize) {
        let letters = |word: &str| word.chars().collect::<Vec<_>>();
        assert_eq!(distance(&letters(a), &letters(b)), expected, "{a} {b}");
        assert_eq!(distance(&letters(b), &letters(a)), expected, "{b} {a}");
    }

    #[test]
    fn distance_counts_typing_errors() {
        check_distance("", "", 0);
        check_distance("", "ab", 2);
        check_distance("port", "port", 0);
        check_distance("port", "prot", 1);
        check_distance("flush_limit", "flsh_limit", 1);
        check_distance("kitten", "sitting", 3);
        check_distance("warning", "warn", 2);
    }

    #[test]
    fn the_nearest_word_is_found_if_it_is_near() {
        let known = ["host", "port", "flush_limit", "drop_limit", "warn"];
        for (word, expected) in [
            ("flsh_limit", Some("flush_limit")),
            ("flushLimit", Some("flush_limit")),
            ("FLUSH-LIMIT", Some("flush_limit")),
            ("prot", Some("port")),
            ("hosts", Some("host")),
            ("warning", Some("warn")),
            ("limit", None),
            ("zebra", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }
}
