//! The technical words of the report, each explained once: beside the word where it first appears, and in a list at the
//! end for touch screens and paper.

use maud::{Markup, html};

/// Word and meaning, in the order of the alphabet.
const WORDS: &[(&str, &str)] = &[
    ("95 % interval", "The true value lies between these two numbers in 95 of 100 such measurements."),
    ("baseline", "The original, uncompressed model. It is read, never changed."),
    ("breach", "The counts prove that a limit is broken. The candidate's weight is set to 0 at once."),
    ("candidate", "A compressed version of the model."),
    ("CPU seconds", "Processor time used; two processors busy for one second are two CPU seconds."),
    ("digest", "SHA-256 of a file: two files with the same digest are the same file."),
    ("divergence", "How far the compressed model's answers have moved from the original's; 0 is not at all."),
    ("gate", "A bound in the manifest, checked after every stage on rows the stage has not seen."),
    ("group", "Units that can only be removed together because layers are connected."),
    ("inconclusive", "Too few samples yet to prove a limit kept or broken."),
    ("latency p50", "Half of the answers take at most this long (the median)."),
    ("latency p99", "99 of 100 answers take at most this long."),
    (
        "loss",
        "Share of the next layer's input that is gone after the kept units have made up for the unit as well as they can.",
    ),
    ("MACs", "Multiply-accumulate operations of one answer: how much arithmetic the model does."),
    ("n", "Number of samples behind a figure."),
    ("objective", "How much smaller or faster the manifest asks for."),
    ("parameters", "The model's stored weights."),
    ("phase", "Where the model is on its way from compression to full traffic."),
    ("points", "Difference of two percentages: from 97.5 % to 96.9 % is −0.6 points."),
    ("reconstructed", "Share of a removed unit's signal that the kept units can reproduce."),
    ("slice", "A named part of your data that is judged on its own."),
    ("stage", "One cut followed by its check. A stage that fails its gates is undone."),
    ("step", "One rung of the rollout, such as a weight or a pause."),
    ("unit", "The smallest part that can be removed from the network: a channel, a neuron, a head."),
    ("weight", "Share of live requests that the candidate answers."),
    ("worst slice", "The slice with the poorest result after compression."),
];

/// The meaning of a word.
fn meaning(word: &str) -> Option<&'static str> {
    WORDS.iter().find(|(known, _)| *known == word).map(|(_, meaning)| *meaning)
}

/// A word with its meaning at hand.
pub fn term(word: &str) -> Markup {
    shown(word, word)
}

/// A word with its meaning at hand, written otherwise here: `Stages` for `stage`.
pub fn shown(word: &str, written: &str) -> Markup {
    html! { abbr title=[meaning(word)] { (written) } }
}

/// The whole list.
pub fn glossary() -> Markup {
    html! {
        section #words aria-labelledby="words-title" {
            h2 #words-title { "Words used here" }
            dl.words {
                @for (word, meaning) in WORDS {
                    div { dt { (word) } dd { (meaning) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_the_order_of_the_alphabet() {
        let words: Vec<String> = WORDS.iter().map(|(word, _)| word.to_lowercase()).collect();
        let mut sorted = words.clone();
        sorted.sort();
        assert_eq!(words, sorted);
    }
}
