//! The name that was probably meant.

/// The candidate that `name` is most likely a typo of; none when nothing is near.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A name this long is no typo of one of ours, and comparing costs its square.
    const LENGTH_MAX: usize = 80;
    if name.len() > LENGTH_MAX {
        return None;
    }
    let name = plain(name);
    // One edit in three letters: more, and any word is near any other.
    let edits_max = (name.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&name, &plain(candidate)), candidate))
        .filter(|(edits, _)| *edits <= edits_max)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Case and the choice of dash are no typos.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_name() {
        let names = ["failure_threshold", "success_threshold", "max_wait", "multiplier"];
        for (typo, meant) in [
            ("failure_treshold", Some("failure_threshold")),
            ("Failure-Threshold", Some("failure_threshold")),
            ("sucess_threshold", Some("success_threshold")),
            ("multipleir", Some("multiplier")),
            ("max_wiat", Some("max_wait")),
            ("listen", None),
            ("", None),
        ] {
            assert_eq!(nearest(typo, names), meant, "{typo}");
        }
        assert_eq!(nearest(&"x".repeat(10_000), names), None);
    }
}
