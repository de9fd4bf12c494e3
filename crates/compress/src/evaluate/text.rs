//! Text out of a recogniser: greedy CTC and edit distance.

/// What each class after the blank stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alphabet(Vec<String>);

/// An alphabet and a model that do not belong together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the alphabet has {found} characters, but the model gives {classes} scores: expected {expected} and the blank; \
     correct task.ctc.alphabet, or leave it out to take the model's own"
)]
pub struct AlphabetError {
    /// Characters given.
    pub found: usize,
    /// Scores of the model.
    pub classes: usize,
    /// Characters expected.
    pub expected: usize,
}

impl Alphabet {
    /// The characters of `task.ctc.alphabet`, one for each class.
    #[must_use]
    pub fn from_spec(text: &str) -> Self {
        Self(text.chars().map(String::from).collect())
    }

    /// A model's metadata property `character`: one entry in each line.
    #[must_use]
    pub fn from_metadata(property: &str) -> Self {
        Self(property.lines().map(str::to_owned).collect())
    }

    /// Fits the alphabet to a model of `classes` scores. `PaddleOCR`'s models count a space that their list leaves out.
    ///
    /// # Errors
    /// [`AlphabetError`] when the counts do not agree.
    pub fn fit(mut self, classes: usize) -> Result<Self, AlphabetError> {
        let expected = classes.saturating_sub(1);
        if self.0.len() + 1 == expected {
            self.0.push(" ".to_owned());
        }
        let found = self.0.len();
        if found == expected { Ok(self) } else { Err(AlphabetError { found, classes, expected }) }
    }

    /// The most likely class at each step, repeats joined, blanks (class 0) dropped: Graves et al., ICML 2006,
    /// best-path decoding. `None` when a score is NaN.
    pub(crate) fn decode(&self, scores: &[f32], classes: usize) -> Option<String> {
        let mut text = String::new();
        let mut last = 0;
        for step in scores.chunks_exact(classes) {
            let class = super::answer::largest(step)?;
            if class != last && class != 0 {
                text.push_str(self.0.get(class - 1)?);
            }
            last = class;
        }
        Some(text)
    }
}

/// Insertions, deletions and substitutions of characters that turn one text into the other (Levenshtein 1966).
pub(crate) fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_joined_and_blanks_part_them() {
        let alphabet = Alphabet::from_spec("ab").fit(3).unwrap();
        let path = [1, 1, 0, 1, 2, 2, 0, 0];
        let scores: Vec<f32> =
            path.iter().flat_map(|&best| (0..3).map(move |class| f32::from(class == best))).collect();
        assert_eq!(alphabet.decode(&scores, 3).as_deref(), Some("aab"));
        assert_eq!(alphabet.decode(&[f32::NAN, 0.0, 1.0], 3), None);
    }

    #[test]
    fn an_alphabet_must_fit_the_model() {
        assert_eq!(Alphabet::from_metadata("0\n1").fit(4).unwrap(), Alphabet(vec!["0".into(), "1".into(), " ".into()]));
        let error = Alphabet::from_spec("01").fit(11).unwrap_err().to_string();
        assert!(
            error.starts_with("the alphabet has 2 characters, but the model gives 11 scores: expected 10"),
            "{error}"
        );
    }

    #[test]
    fn distances_are_levenshteins() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("über", "uber"), 1);
        assert_eq!(edit_distance("same", "same"), 0);
    }
}
