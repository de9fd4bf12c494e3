//! Lint holds whatever it is given.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a panic is a failed test")]

use proptest::prelude::*;
use sentei_api::lint;

const METER: &str = include_str!("manifests/good/meter.yaml");

/// The meter manifest with a run of characters replaced.
fn mutated() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just(String::new()),
        Just("null".to_owned()),
        Just("-1".to_owned()),
        Just("1e400".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("*a".to_owned()),
        Just("\"\\u0000\"".to_owned()),
        "[a-z0-9%x.:\\-\\[\\]{}\"' \n]{0,12}",
        any::<String>(),
    ];
    (0..METER.chars().count(), 0_usize..30, pieces).prop_map(|(start, length, piece)| {
        let characters: Vec<char> = METER.chars().collect();
        let end = (start + length).min(characters.len());
        let text = |run: &[char]| run.iter().collect::<String>();
        text(&characters[..start]) + &piece + &text(&characters[end..])
    })
}

fn holds(text: &str) {
    if let Err(findings) = lint(text) {
        assert!(!findings.is_empty());
        for finding in findings {
            assert!(finding.position.line >= 1 && finding.position.column >= 1);
            assert_ne!(
                finding.expected, "a manifest of this version",
                "taken by the schema, not by the types: {finding}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_text_is_taken_or_refused(text in any::<String>()) {
        holds(&text);
    }

    #[test]
    fn a_damaged_manifest_is_taken_or_refused(text in mutated()) {
        holds(&text);
    }

    #[test]
    fn what_the_schema_takes_the_types_take(text in prop_oneof![
        "[0-9]{1,4}(\\.[0-9]{1,3})?x", "([0-9]{1,10}(\\.[0-9]{0,3})?(us|ms|s|m|h)){1,3}"
    ]) {
        holds(&METER.replace("1.25x", &text));
        holds(&METER.replace("24h", &text));
        holds(&METER.replace("20ms", &text));
    }
}
